"""Where a store keeps participant data, and what was derived from them row by row; lists names, reads no file."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from workers.contract.errors import StoreError
from workers.contract.layout import StoreLayout

Parts = Mapping[str, list[Path]]
TEMPORARIES = (".tmp-*", ".dataset-*", ".report*", ".write-test-*")


def derived_parts(layout: StoreLayout) -> Parts:
    """What was made of participants, by part; and what says where they came from."""
    folders = [layout.trials, layout.checkpoints("any").parent, layout.dataset, layout.audit_keys]
    folders += [layout.orders, layout.scratch, layout.tracking_artifacts, layout.settled]
    temporaries = [path for pattern in TEMPORARIES for path in layout.root.glob(pattern)]
    return {path.name: [path] for path in folders} | {"temporary files": temporaries}


def telling_parts(layout: StoreLayout) -> Parts:
    """What tells who the participants are."""
    return {path.name: [path] for path in (layout.teacher_cache, layout.inputs, layout.salt)}


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Every file below these, links for themselves; sorted."""
    return sorted(file for path in paths for file in (path, *path.rglob("*")) if file.is_symlink() or file.is_file())


def refuse_links(layout: StoreLayout) -> None:
    """See that all of it lies in the store.

    Raises:
        StoreError: A part leads elsewhere.
    """
    paths = [
        path for parts in (derived_parts(layout), telling_parts(layout)) for part in parts.values() for path in part
    ]
    if links := [path.name for path in paths if path.is_symlink()]:
        raise StoreError(
            f"{layout.root}: {', '.join(links)} is a link; only what lies in the store itself is purged: "
            "put the folder in the place of the link"
        )
