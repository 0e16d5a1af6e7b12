"""MLflow's own SQLite file, which is made whole or not at all.

MLflow makes its tables in dozens of steps and can't go on from between two of them: what a kill leaves there, no client
ever opens. Its last step is an experiment, so a file with its tables and without one was never finished, and holds
nothing.
"""

import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from orchestrator.saying.addressing import database_uri
from workers.contract.system.durable import temporary_prefix

MLFLOWS = "SELECT 1 FROM sqlite_master WHERE name IN ('alembic_version', 'experiments')"
MADE_LAST = "SELECT 1 FROM experiments"
# What SQLite keeps of a write that was cut off; it would go into whatever file has the name next.
OF_A_WRITE = ("-journal", "-wal", "-shm")


def is_unfinished(path: Path) -> bool:
    """Whether MLflow began a database there and was cut off; of one that is held or can't be read, nothing is said."""
    try:
        # To be written: what was cut off in the middle of a write is taken back by who looks first.
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=0)) as database:
            began = database.execute(MLFLOWS).fetchone()
            return began is not None and database.execute(MADE_LAST).fetchone() is None
    except sqlite3.DatabaseError as error:
        return error.sqlite_errorcode == sqlite3.SQLITE_ERROR  # no such table yet


def ensure_database(path: Path, make_tables: Callable[[str], object]) -> None:
    """Make MLflow's database unless it is there, in place of one that was never finished.

    Args:
        path: Of a file that this process alone may make.
        make_tables: Makes all tables in the empty database of a URI.
    """
    if path.is_file() and path.stat().st_size and not is_unfinished(path):
        return
    with tempfile.TemporaryDirectory(prefix=temporary_prefix(), dir=path.parent) as folder:
        made = Path(folder) / path.name
        made.touch()  # SQLite would never let a group write
        make_tables(database_uri(made))
        for suffix in OF_A_WRITE:
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        made.replace(path)
