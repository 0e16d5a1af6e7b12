"""Where MLflow keeps what it is told, a SQLite file in the store unless a URI says otherwise, and how its page opens.

Addresses only; MLflow itself is not imported.
"""

import os
import re
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.saying import addressing
from orchestrator.tracking.database import is_unfinished
from orchestrator.tracking.study_page import place_of
from workers.contract.errors import InputError, Problem
from workers.contract.layout import StoreLayout

# How every file of SQLite begins.
SQLITE = b"SQLite format 3\0"
LOOPBACK = "127.0.0.1"
# What the web page would start beside itself: runners of jobs that nobody submits here, and telemetry.
SERVED_WITHOUT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
AGAIN = "move it away: `sweep sync` makes it again from the store"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def database_uri(layout: StoreLayout) -> str:
    """The SQLite file that MLflow uses where no URI is given."""
    return addressing.database_uri(layout.tracking_database.resolve())


def has_database(layout: StoreLayout) -> bool:
    """Whether MLflow's file is in the store, and was finished."""
    return layout.tracking_database.is_file() and not is_unfinished(layout.tracking_database)


def is_database(uri: str) -> bool:
    """Whether MLflow opens a database there itself, with no server that knows where artifacts belong."""
    return urlsplit(uri).scheme.partition("+")[0] in DATABASES


def refuse_no_database(layout: StoreLayout, *, tracking_uri: str | None) -> None:
    """See that MLflow's SQLite file, where there is one, is a database: MLflow itself asks a folder for two minutes.

    Raises:
        InputError: It is something else, SQLite could not open it for the length of its path, or one that a URI names
            was never finished by who made it; the store's own is made anew.
    """
    path = layout.tracking_database if tracking_uri is None else addressing.database_path(tracking_uri)
    if path is None:
        return
    addressing.refuse_long_database(path)
    if path.exists() and not (path.is_file() and _begins_as_sqlite(path)):
        what = "is no SQLite database that can be read"
        raise InputError(Problem(str(path), what, AGAIN))
    if tracking_uri is not None and path.exists() and is_unfinished(path):
        raise InputError(Problem(str(path), "MLflow was cut off as it made this database, and can't go on", AGAIN))


def _begins_as_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE)) in (SQLITE, b"")
    except OSError:
        return False


def artifacts_uri(layout: StoreLayout) -> str:
    """The folder of a store for files that somebody uploads to MLflow; we upload none."""
    return layout.tracking_artifacts.resolve().as_uri()


def refuse_taken_port(port: int) -> None:
    """See that the web page can listen there.

    Raises:
        InputError: Something else does, whose page would open in its place, or it is not allowed.
    """
    try:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: one that just ended goes
            trial.bind((LOOPBACK, port))
    except OSError as error:
        what = f"{port} can't be used on {LOOPBACK} ({os.strerror(error.errno or 0).lower()})"
        raise InputError(Problem("--port", what, "end what listens there, or give another port")) from None


def view_address(layout: StoreLayout, study: str) -> str:
    """Where the table of a study's scores opens, below the address of the web page; empty where that can't be told."""
    try:
        with closing(sqlite3.connect(f"{layout.tracking_database.resolve().as_uri()}?mode=ro", uri=True)) as database:
            asked = "SELECT experiment_id FROM experiments WHERE name = ? AND lifecycle_stage = 'active'"
            found = database.execute(asked, (study,)).fetchone()
    except sqlite3.Error:
        return ""
    return place_of("Scores", str(found[0])) if found else ""


def serve_command(layout: StoreLayout, *, tracking_uri: str | None = None, port: int = 5000) -> list[str]:
    """The command line of MLflow's web page on this machine's loopback, for `sweep ui`.

    Raises:
        InputError: A server runs at the URI, it holds a password, which `ps` would show, or no database is there.
    """
    refuse_no_database(layout, tracking_uri=tracking_uri)
    uri = tracking_uri or database_uri(layout)
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https"):
        raise InputError(Problem("--tracking-uri", "a server runs there already", "open it in a browser"))
    if parts.password or re.search("pass|token|key|secret", parts.query):
        raise InputError(Problem("--tracking-uri", "holds a password, which `ps` would show", "use PGPASSFILE"))
    # The second is where the server puts what somebody uploads to it; else it is ./mlartifacts.
    artifacts = ["--default-artifact-root", artifacts_uri(layout), "--artifacts-destination", artifacts_uri(layout)]
    place = ["--host", LOOPBACK, "--port", str(port), "--workers", "1"]
    return [sys.executable, "-P", "-m", "mlflow", "server", *place, "--backend-store-uri", uri, *artifacts]
