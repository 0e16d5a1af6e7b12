"""Whether this machine has room for trials: cores, memory, the places where Ray and libraries put things, open files.

Of a cluster's other nodes it knows nothing.
"""

import os
import resource
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.doctor.check import HealthCheck, fail, ok, warn
from orchestrator.execution.on_ray.connection.local_ray import (
    LAST_RESORT,
    LONGEST_FOLDER,
    SessionFolder,
    session_folder,
    unwritable,
)
from orchestrator.study.resources import TrialShare
from workers.contract.errors import ClusterError
from workers.contract.system.control_group import read_control_group

MIB, GB = 2**20, 10**9
# Median peak of the workers of 674 LoRA trials on bases of under a million weights, CPU: libraries, mostly.
SMALLEST_TRIAL_MIB = 1_160
# Ray's own lower limit of its object store (`ray_constants.OBJECT_STORE_MINIMUM_MEMORY_BYTES`).
SMALLEST_SHM = 75 * MIB
# Ray takes a disk for full from here on (`RAY_local_fs_capacity_threshold`).
FULL_SHARE = 0.95
SMALLEST_TMP = 500 * 10**6
# Below this, Ray itself warns of connection errors.
FEWEST_FILES = 4_096
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Capacity:
    """What this machine has, in bytes where nothing else is said; a limit of its container is in it.

    sessions: Where a Ray of ours keeps its own, or the error that says why nowhere.
    home: The home folder, where nothing can be written to it.
    encoding: That of standard output.
    open_files: Up to how many a process may raise its own limit.
    """

    cores: float
    memory_available: int
    memory_limit: int | None
    shm_total: int
    tmp_free: int
    tmp_total: int
    open_files: int
    sessions: SessionFolder | ClusterError
    home: Path | None = None
    encoding: str = "utf-8"


def check_machine(here: Capacity, shares: Sequence[TrialShare], *, peak_mib: float | None) -> Iterator[HealthCheck]:
    """Compare what is here with what trials take.

    Args:
        shares: What trials reserve, each kind once at least.
        peak_mib: The largest memory that a trial of this study was measured to take, where one has run.
    """
    cpus = [share.cpus_per_trial * share.processes_per_trial for share in shares]
    n_slots = int(here.cores / min(cpus))
    yield _check_cores(here, max(cpus), n_slots)
    yield _check_memory(here, max(n_slots, 1), peak_mib)
    if here.shm_total < SMALLEST_SHM:
        what = f"{here.shm_total / MIB:.0f} MiB, less than Ray's object store: it will be slower, on disk"
        yield warn("/dev/shm", what, "give the container more, as `--shm-size 1g`")
    else:
        yield ok("/dev/shm", f"{here.shm_total / MIB:,.0f} MiB")
    yield _check_tmp(here)
    yield _check_sessions(here.sessions)
    if here.home is None:
        yield ok("home", "can be written")
    else:
        remedy = "point HOME to a folder of yours, or HF_HOME, XDG_CACHE_HOME and MPLCONFIGDIR"
        yield warn("home", f"{here.home} can't be written: libraries keep no caches there", remedy)
    if not here.encoding.startswith("utf"):
        what = f"{here.encoding}: characters that it lacks are printed as \\x and their number"
        yield warn("output", what, "set LC_ALL=C.UTF-8 or PYTHONUTF8=1")
    if here.open_files < FEWEST_FILES:
        what = f"a process may open {here.open_files}: connections of Ray may fail below {FEWEST_FILES:,}"
        yield warn("open files", what, "raise the hard limit (`ulimit -Hn`) to 8192 or more")
    else:
        yield ok("open files", f"up to {here.open_files:,} a process")


def _check_cores(here: Capacity, most: float, n_slots: int) -> HealthCheck:
    what = f"{here.cores:g}, a trial takes {most:g}"
    if here.cores < most:
        return fail("cores", what, "lower `resources.cpus_per_trial`, or take a larger machine")
    return ok("cores", f"{what}: {n_slots} at once on the CPU")


def _check_memory(here: Capacity, n_slots: int, peak_mib: float | None) -> HealthCheck:
    trial_mib = peak_mib or SMALLEST_TRIAL_MIB
    available_mib = here.memory_available / MIB
    measured = "was measured to take" if peak_mib else "takes at least"
    limit = f", limited to {here.memory_limit / MIB:,.0f} MiB" if here.memory_limit is not None else ""
    what = f"{available_mib:,.0f} MiB available{limit}; a trial {measured} {trial_mib:,.0f} MiB, {n_slots} run at once"
    remedy = "end other processes, raise the limit, or raise `resources.cpus_per_trial` so that fewer run at once"
    if available_mib < trial_mib:
        return fail("memory", what, remedy)
    return warn("memory", what, remedy) if available_mib < n_slots * trial_mib else ok("memory", what)


def _check_tmp(here: Capacity) -> HealthCheck:
    what = f"{here.tmp_free / GB:,.1f} of {here.tmp_total / GB:,.0f} GB free"
    remedy = "free space there, or point RAY_TMPDIR to another disk"
    if here.tmp_free < SMALLEST_TMP:
        return fail("/tmp", f"{what}, where Ray keeps its sessions", remedy)
    if here.tmp_free < (1 - FULL_SHARE) * here.tmp_total:
        return warn("/tmp", f"{what}: Ray takes a disk that is {FULL_SHARE:.0%} full for a full one", remedy)
    return ok("/tmp", what)


def _check_sessions(found: SessionFolder | ClusterError) -> HealthCheck:
    if isinstance(found, ClusterError):
        what, _, remedy = str(found).partition("; ")
        return fail("sessions", what, remedy)
    if found.passed_over:
        remedy = f"where that has too little room, point RAY_TMPDIR to a folder of at most {LONGEST_FOLDER} bytes"
        return warn("sessions", f"{found.passed_over}: Ray keeps its sessions in {found.place}", remedy)
    return ok("sessions", f"in {found.place}")


def _sessions() -> SessionFolder | ClusterError:
    try:
        return session_folder()
    except ClusterError as error:
        return error


def _unwritable_home() -> Path | None:
    try:
        home = Path.home()
    except RuntimeError:  # neither HOME nor an account names one
        return Path("~")
    return home if unwritable(home) else None


def read_capacity() -> Capacity:
    """Look at this machine."""
    memory = psutil.virtual_memory()
    group = read_control_group(below=memory.total)
    sessions = _sessions()
    tmp = shutil.disk_usage(sessions.place if isinstance(sessions, SessionFolder) else LAST_RESORT)
    shm = Path("/dev/shm")
    return Capacity(
        cores=min(len(os.sched_getaffinity(0)), _cpu_quota()),
        memory_available=min(memory.available, group.room) if group else memory.available,
        memory_limit=group.limit if group else None,
        shm_total=shutil.disk_usage(shm).total if shm.is_dir() else 0,
        tmp_free=tmp.free,
        tmp_total=tmp.total,
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        sessions=sessions,
        home=_unwritable_home(),
        # Not of `sys.stdout`: while a terminal shows that we look around, a stand-in of rich without one is there.
        encoding=(getattr(sys.__stdout__, "encoding", None) or "utf-8").lower(),
    )


def _cpu_quota(root: Path = CGROUPS) -> float:
    try:
        quota, period = (root / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):
        return float("inf")
