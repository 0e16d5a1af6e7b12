"""The exclusive commit: a result exists when its file could be linked, and the first link wins for ever.

The link itself is in `contract.durable`: the driver takes its hold on a store by it too.
"""

from contextlib import suppress
from pathlib import Path
from typing import Literal

from workers.contract.errors import StoreError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.system.durable import file_digests, link_exclusive, sync_tree
from workers.contract.system.removal import try_to_remove


def commit_outcome(outcome: Outcome, layout: StoreLayout, folder: Path) -> bool:
    """Make an attempt's files durable, then link its outcome; False where another attempt was first.

    Then, and where the driver took away the files of an attempt that it knew to be late, the outcome is kept as
    `superseded`, evidence of a worker that was taken for dead and was not, and the folder goes. It is not kept within
    the folder, which the driver may be removing at this very moment.

    Raises:
        StoreError: A file that the outcome would name is gone.
        OSError: The store can't be written.
    """
    try:
        sync_tree(folder)
        sealed = outcome.model_copy(update={"files": file_digests(folder)}).sealed()
        for name in sorted(files_of(outcome) | sealed.files.keys()):
            (folder / name).stat()
    except FileNotFoundError as error:
        if layout.outcome(outcome.trial_id).exists():
            return _superseded(outcome.sealed(), layout, folder)
        name = Path(error.filename).name
        raise StoreError(
            f"{folder}: {name} vanished before the commit; see what deletes files there, then run the trial again"
        ) from error
    if link_exclusive(layout.outcome(outcome.trial_id), _body_of(sealed)):
        return True
    return _superseded(sealed, layout, folder)


def _superseded(late: Outcome, layout: StoreLayout, folder: Path) -> Literal[False]:
    with suppress(OSError):  # no result depends on it
        link_exclusive(layout.superseded(late.trial_id) / f"{late.attempt}.json", _body_of(late))
    try_to_remove(folder, within=layout.root)
    return False


def _body_of(outcome: Outcome) -> bytes:
    return outcome.model_dump_json(indent=1).encode()


def files_of(outcome: Outcome) -> set[str]:
    """The files without which an outcome of this kind is hollow."""
    trains, is_scored = outcome.trial.spec.method.does.trains, outcome.state == "scored"
    files = {"predictions.parquet"} if is_scored else set()
    if trains:
        files.add("history.parquet")
    if trains and is_scored:
        files |= {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"}
    return files
