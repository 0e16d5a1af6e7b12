"""Whether what a launch talks to answers: the Ray cluster, MLflow, a model hub, a teacher's endpoint.

Asks nobody who is not needed, waits 5 s at most for each, and shows no address with a password in it.
"""

import http.client
import os
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.doctor.check import HealthCheck, fail, ok, warn
from orchestrator.execution.on_ray.connection.head import unusable_token
from orchestrator.execution.on_ray.connection.watching import reason_of
from orchestrator.saying.addressing import typed
from orchestrator.tracking.database import is_unfinished
from workers.contract.addresses import without_credentials
from workers.contract.answers.roll_call import Present
from workers.contract.errors import ClusterError, Problem

TIMEOUT_S = 5.0
LOCK_WAIT_S = 1.0
START_TIMEOUT_S = 120.0
START_RAY = """
import sys
from orchestrator.execution.on_ray.connection.cluster import cluster
from orchestrator.execution.on_ray.connection.local_ray import begun
from workers.contract.errors import ClusterError
try:
    with begun() as folder, cluster(folder):
        pass
except ClusterError as error:
    sys.exit(f"error: {error}")
"""
# About a second for 100 MB.
LARGEST_READ = 500 * 10**6
LOOPBACK = ("127.0.0.1", "localhost", "::1", "auto", "local")
NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "lustre", "fuse", "9p", "gpfs", "beegfs")
FINISHED_TRIALS = """
SELECT DISTINCT trial.value FROM tags trial
JOIN tags state ON state.run_uuid = trial.run_uuid AND state.key = 'sweep.state'
JOIN runs ON runs.run_uuid = trial.run_uuid
WHERE trial.key = 'sweep.trial_id' AND state.value IN ('scored', 'diverged') AND runs.lifecycle_stage = 'active'
"""
# Asked for an address, the status of its answer; raises OSError where there is none.
Reach = Callable[[str], int]


@dataclass(frozen=True)
class Joined:
    """A cluster that answers: what it holds in words, what its nodes say, and what is wrong with them."""

    room: str
    nodes: tuple[Present, ...] = ()
    problems: tuple[Problem, ...] = ()


def check_cluster(address: str, join: Callable[[str], Joined]) -> Iterator[HealthCheck]:
    """Whether a Ray cluster answers and has room for a trial; then each node, as a launch would ask it.

    Args:
        join: Raises ClusterError.
    """
    try:
        joined = join(address)
    except ClusterError as error:
        what, _, remedy = str(error).partition("; ")
        yield fail("cluster", what, remedy)
        return
    yield ok("cluster", f"{address}: {joined.room}")
    unfit = {problem.where for problem in joined.problems}
    for node in joined.nodes:
        if (name := f"node {node.host}") not in unfit:
            yield ok(name, f"{node.device}, {node.software}")
    yield from (fail(problem.where, problem.what, problem.remedy) for problem in joined.problems)


def check_ray(start: Callable[[], str]) -> HealthCheck:
    """Whether a Ray of our own starts on this machine.

    Args:
        start: Tries, and says why it doesn't.
    """
    if why := start():
        what, _, remedy = why.partition("; ")
        return fail("ray", what, remedy or "run again, and see whether this machine is overloaded")
    return ok("ray", "starts here, and ends")


def start_ray() -> str:
    """Start a Ray, and end it, in a process that it may take with it; why it did not work."""
    try:
        command = [sys.executable, "-P", "-c", START_RAY]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"a local Ray did not start within {START_TIMEOUT_S:g} s"
    if not done.returncode:
        return ""
    said = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
    return said[-1] if said else f"a local Ray could not be started (code {done.returncode})"


def check_token(environ: Mapping[str, str], *, address: str | None) -> HealthCheck | None:
    """Whether the token of a cluster is there and nobody else's to read; null where no cluster is asked for."""
    if address is None:
        return None
    if why := unusable_token(environ):
        what, _, remedy = why.partition("; ")
        return fail("token", what, remedy)
    if (environ.get("RAY_AUTH_MODE") or "").lower() != "token":
        if address.rpartition(":")[0] in ("", *LOOPBACK):
            return None
        remedy = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH on every node (cluster/README.md)"
        return warn("token", "none is shown: whoever reaches the cluster's head may run code on it", remedy)
    if (path := environ.get("RAY_AUTH_TOKEN_PATH")) is None:
        return ok("token", "not in a file that is named")
    if (mode := Path(path).stat().st_mode) & 0o077:
        remedy = f"`{typed('chmod', '600', Path(path))}`, and make another"
        return fail("token", f"others may read {path} (mode {mode & 0o777:o})", remedy)
    return ok("token", f"{path}, for nobody else to read")


def check_server(uri: str, *, reach: Reach) -> HealthCheck:
    """Whether an MLflow server is well."""
    where = urlsplit(without_credentials(uri)).netloc
    try:
        status = reach(f"{uri.rstrip('/')}/health")
    except OSError as error:
        what = f"no server answers at {where} ({reason_of(error)})"
        remedy = "start it or mend --tracking-uri; trials would run, and `sweep sync` make up for it"
        return fail("tracking", what, remedy)
    if status == 200:
        return ok("tracking", f"the server at {where} says that it is well")
    what = f"the server at {where} answers /health with {status}"
    remedy = "401 and 403 want a login (MLFLOW_TRACKING_USERNAME), 404 is no MLflow server of ours"
    return warn("tracking", what, remedy)


def check_database(path: Path, *, file_system: str = "") -> HealthCheck:
    """Whether MLflow's SQLite file is whole and not held by somebody else; up to `LARGEST_READ` it is read through."""
    rebuild = "move it away; `sweep sync` makes it again from the store"
    if any(file_system.startswith(name) for name in NETWORK_FILE_SYSTEMS):
        what = f"SQLite on {file_system} may be damaged by two machines"
        return warn("tracking", what, "give `--tracking-uri` of a server")
    if not path.exists():
        return ok("tracking", "no database yet; the first launch makes one")
    if is_unfinished(path):
        what = f"MLflow was cut off as it made {path.name}, and can't go on"
        return warn("tracking", what, "the next launch makes the store's own anew; move one of `--tracking-uri` away")
    try:
        with closing(_open(path)) as database:
            if path.stat().st_size <= LARGEST_READ:
                (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
                if verdict != "ok":
                    return fail("tracking", f"{path.name} is damaged", rebuild)
            if os.access(path, os.W_OK):
                database.execute("BEGIN IMMEDIATE")
                database.rollback()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            what = f"{path.name} is locked by another process"
            return warn("tracking", what, "a driver or an MLflow server writes to it; else end that process")
        return fail("tracking", f"{path.name} can't be opened as a database", "mend its owner and mode, or " + rebuild)
    except sqlite3.DatabaseError:
        return fail("tracking", f"{path.name} is no database, or a damaged one", rebuild)
    return ok("tracking", f"{path.name} is whole and free ({path.stat().st_size / 1e6:,.0f} MB)")


def check_tracked(path: Path, committed: Collection[str], *, store: Path) -> HealthCheck | None:
    """Whether MLflow's SQLite file has every committed trial; null where it can't be asked."""
    if not path.exists():
        return None
    try:
        with closing(_open(path)) as database:
            tracked = {trial_id for (trial_id,) in database.execute(FINISHED_TRIALS)}
    except sqlite3.DatabaseError:
        return None
    if n_missing := len(set(committed) - tracked):
        what = f"{n_missing} of {len(committed)} committed trials are not in MLflow"
        return warn("tracked", what, f"`sweep sync {typed(store)}`")
    return ok("tracked", f"all {len(committed)} committed trials are in MLflow")


def check_hub(model_ids: Collection[str], *, hub: str, reach: Reach, is_offline: bool) -> HealthCheck | None:
    """Whether the hub can be reached for models that are neither prepared nor in its cache; null without any."""
    if not model_ids:
        return None
    first, *others = sorted(model_ids)
    names = f"{first} and {len(others)} more models" if others else first
    remedy = "connect, set HF_ENDPOINT to a mirror, or copy the models into the hub's cache"
    if is_offline:
        return fail("hub", f"{names} must be fetched, and HF_HUB_OFFLINE is set", remedy)
    try:
        reach(hub)
    except OSError as error:
        what = f"{names} must be fetched, and {without_credentials(hub)} does not answer ({reason_of(error)})"
        return fail("hub", what, remedy)
    return ok("hub", f"{without_credentials(hub)} answers, for {names}")


def check_endpoint(base_url: str, key_variable: str | None, *, environ: Mapping[str, str], reach: Reach) -> HealthCheck:
    """Whether a teacher's endpoint answers at all, and its key is set; nothing is asked of the model."""
    where = urlsplit(base_url).netloc
    if key_variable and not environ.get(key_variable):
        return fail("endpoint", f"{key_variable} is not set", "export the key that the study names")
    try:
        status = reach(f"{base_url.rstrip('/')}/models")
    except OSError as error:
        what = f"{where} does not answer ({reason_of(error)})"
        return fail("endpoint", what, "start the teacher's server, or mend `endpoint.base_url`")
    return ok("endpoint", f"{where} answers (status {status} without a key)")


def reach(address: str) -> int:
    """The status of a GET.

    Raises:
        OSError: Nobody answers within `TIMEOUT_S`, or the address is none.
    """
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (ValueError, http.client.HTTPException):  # whose texts repeat it
        raise OSError("not an address") from None


def _open(path: Path) -> sqlite3.Connection:
    # Opened for writing where that is allowed, so that what a killed process left half written is rolled back.
    mode = "rw" if os.access(path, os.W_OK) else "ro"
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=LOCK_WAIT_S)
