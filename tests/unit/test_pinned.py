"""What is installed is named three times: pinned, hashed and licensed; the names and versions are the same."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.places import REPOSITORY

HASHES = REPOSITORY / "cluster/hashes"
HASHED = re.compile(r"^(\S+==\S+) \\\n(?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", re.MULTILINE)


def test_every_pinned_package_has_hashes_of_the_same_version() -> None:
    pinned = versions(
        line for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    for torch in ("cpu", "cuda"):
        hashed = hashed_versions("packages.txt") | hashed_versions(f"torch-{torch}.txt")
        assert pinned.items() <= {name: found.partition("+")[0] for name, found in hashed.items()}.items()


@pytest.mark.parametrize("path", sorted(HASHES.iterdir()), ids=lambda path: path.stem)
def test_a_list_of_hashes_holds_nothing_else(path: Path) -> None:
    assert HASHED.sub("", path.read_text()) == ""


def test_every_hashed_package_has_its_licence_told() -> None:
    table = (REPOSITORY / "cluster/licences.md").read_text().splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table]
    licensed = {canonicalize_name(name): version.partition("+")[0] for name, version, _ in cells}
    assert hashed_versions("packages.txt").items() <= licensed.items()
    assert {name for name, _, licence in cells if licence == "UNKNOWN"} <= {
        "huey",
        "skops",
    }  # MIT, by their licence files


def hashed_versions(name: str) -> dict[str, str]:
    return versions(HASHED.findall((HASHES / name).read_text()))


def versions(pins: Iterable[str]) -> dict[str, str]:
    found = [Requirement(pin) for pin in pins]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in found}
