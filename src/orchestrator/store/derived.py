"""What follows from the outcomes and is read by people: whether each file is still what was written.

Each carries its checksum: the dataset in a file beside its tables, the page in its last line, records within. One from
before there were checksums is taken as it is, and gets one when it is written next.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import from_json

from orchestrator.store.dataset.columns import TABLES
from workers.contract.files import FileName
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Sealed, checksum_of
from workers.contract.recipes.recipe import Sha256
from workers.contract.system.sources import sha256_of

CHANGED = "is not what was written"
PAGE_SEAL = "\n<!-- sha256 of all above: {} -->\n"


class DatasetSeal(Sealed):
    """`dataset/checksums.json`: SHA-256 of each file of the dataset, by its path in there."""

    files: dict[FileName, Sha256]


def dataset_damages(layout: StoreLayout, *, tables: Collection[str] = TABLES) -> dict[str, str]:
    """What is wrong with the files of some tables, by their path in the store; reads them whole.

    Raises:
        OSError: One is there and can't be read.
    """
    home, seal_name = layout.dataset, str(layout.dataset_seal.relative_to(layout.root))
    try:
        seal = DatasetSeal.model_validate_json(layout.dataset_seal.read_bytes())
    except FileNotFoundError:
        return {}
    except ValidationError:
        return {seal_name: CHANGED}
    expected = {name: digest for name, digest in seal.files.items() if name.partition("/")[0] in tables}
    found = {str(path.relative_to(home)): path for table in tables for path in home.glob(f"{table}/**/*.parquet")}
    wrong = dict.fromkeys(expected.keys() - found.keys(), "is gone")
    wrong |= dict.fromkeys(found.keys() - expected.keys(), "is nothing of ours")
    wrong |= {name: CHANGED for name in expected.keys() & found.keys() if sha256_of(found[name]) != expected[name]}
    return {f"{home.name}/{name}": wrong[name] for name in sorted(wrong)}


def sealed_page(html: str) -> str:
    """The page with the checksum of its text in a last line, which no browser shows."""
    return html + PAGE_SEAL.format(hashlib.sha256(html.encode()).hexdigest())


def is_sound_page(body: bytes) -> bool:
    """Whether a page's last line is right; one without is older."""
    above, mark, _ = body.rpartition(PAGE_SEAL.partition("{")[0].encode())
    return body == sealed_page(above.decode(errors="replace")).encode() if mark else True


def is_sound_record(body: bytes) -> bool:
    """Whether a record is as it was sealed; one without a seal is older."""
    with suppress(ValueError):
        stored = from_json(body)
        return isinstance(stored, Mapping) and stored.get("checksum", "") in ("", checksum_of(stored))
    return False


def derived_files(layout: StoreLayout) -> dict[Path, Callable[[bytes], bool]]:
    """The derived files beside the dataset that are there, and how each is judged."""
    records = (layout.study, layout.audit, layout.agreement, layout.tripod)
    judged = {**dict.fromkeys(records, is_sound_record), layout.report: is_sound_page}
    return {path: is_sound for path, is_sound in judged.items() if path.is_file()}


def derived_damages(layout: StoreLayout) -> dict[str, str]:
    """What is wrong with derived files, by their path in the store; reads them whole.

    Raises:
        OSError: One is there and can't be read.
    """
    changed = [path for path, is_sound in derived_files(layout).items() if not is_sound(path.read_bytes())]
    return {str(path.relative_to(layout.root)): CHANGED for path in changed} | dataset_damages(layout)
