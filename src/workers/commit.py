"""The exclusive commit: a result exists when its file could be linked, and the first link wins for ever.

The link itself is in `contract.durable`: the driver takes its hold on a store by it too.
"""

import itertools
import os
from pathlib import Path

from workers.contract.durable import link_exclusive, sync_folder
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt
from workers.contract.sources import sha256_of


def record_attempt(attempt: Attempt, layout: StoreLayout) -> None:
    """Write a failed attempt under the first free number of its trial."""
    for number in itertools.count(1):
        body = attempt.model_copy(update={"number": number}).model_dump_json(indent=1).encode()
        if link_exclusive(layout.attempts(attempt.trial_id) / f"{number}.json", body):
            return


def sync_tree(folder: Path) -> None:
    """Make every file below `folder`, and the folders themselves, survive a power cut."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder`, by its path relative to it."""
    return {str(path.relative_to(folder)): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}
