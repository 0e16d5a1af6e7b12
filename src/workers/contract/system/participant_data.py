"""Where a store keeps participant data, and what was derived from them row by row; lists names, reads no file."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from workers.contract.layout import StoreLayout

Parts = Mapping[str, list[Path]]
TEMPORARIES = (".tmp-*", ".dataset-*", ".report*", ".write-test-*")


def derived_parts(layout: StoreLayout) -> Parts:
    """What was made of participants, by part; and what says where they came from."""
    folders = [layout.trials, layout.all_checkpoints, layout.dataset, layout.audit_keys]
    folders += [layout.orders, layout.scratch, layout.tracking_artifacts, layout.settled]
    temporaries = [path for pattern in TEMPORARIES for path in layout.root.glob(pattern)]
    return {path.name: [path] for path in folders} | {"temporary files": temporaries}


def telling_parts(layout: StoreLayout) -> Parts:
    """What tells who the participants are."""
    return {path.name: [path] for path in (layout.teacher_cache, layout.inputs, layout.salt)}


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Every file below these, links for themselves; sorted."""
    return sorted(file for path in paths for file in (path, *path.rglob("*")) if file.is_symlink() or file.is_file())
