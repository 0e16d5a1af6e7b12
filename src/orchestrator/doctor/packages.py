"""Whether Python and the installed packages are what the project asks for, and whether a worker can load them.

Versions other than the pinned ones only warn: ids stay, but numbers may come out otherwise.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from orchestrator.doctor.check import HealthCheck, fail, ok, warn
from workers.contract.answers.readiness import Readiness
from workers.contract.errors import SweepError

PROJECT = "rationale-sweep"
CONSTRAINTS = Path(__file__).parents[3] / "constraints.txt"
MAX_NAMED = 4
# As from a checkout that is on Python's path and nothing more.
NOT_INSTALLED = "the code runs without having been installed, so nothing says what it asks for"
INSTALL = "`make .venv/stamp`, or `pip install --constraint constraints.txt --editable .`"


def check_python(found: str, *, required: str | None) -> HealthCheck:
    """Whether this Python is new enough; null is required where nothing says what is."""
    if required is None:
        return warn("python", f"{found}; {NOT_INSTALLED}", INSTALL)
    if SpecifierSet(required).contains(found, prereleases=True):
        return ok("python", f"{found} (asked for: {required})")
    return fail("python", f"{found} is not {required}", "make the environment with another Python")


def check_packages(
    required: Sequence[Requirement] | None, installed: Callable[[str], str | None], pins: Mapping[str, SpecifierSet]
) -> HealthCheck:
    """Whether every package that the project needs is there, and in the pinned version.

    Args:
        required: Null where nothing says what is.
        installed: The version of a package; null where it is not installed.
        pins: What each version is pinned to; empty where the code lies without its constraints.
    """
    if required is None:
        return warn("packages", f"not looked at: {NOT_INSTALLED}", INSTALL)
    found = {need.name: installed(need.name) for need in required}
    if missing := [name for name, it in found.items() if it is None]:
        return fail("packages", f"not installed: {_named(missing)}", INSTALL)
    too_old = [f"{need.name} {found[need.name]}" for need in required if not _holds(need.specifier, found[need.name])]
    if too_old:
        return fail("packages", f"the project can't use {_named(too_old)}", INSTALL)
    if not pins:
        return ok("packages", f"all {len(found)} are installed; the code lies without constraints.txt")
    others = [
        f"{name} {it} (pinned {pin})"
        for name, it in found.items()
        if (pin := pins.get(canonicalize_name(name))) is not None and not _holds(pin, it)
    ]
    if others:
        remedy = f"numbers may come out otherwise than those of the pinned versions: {INSTALL}"
        return warn("packages", f"other versions than the pinned ones: {_named(others)}", remedy)
    return ok("packages", f"all {len(found)} are installed as pinned")


def check_worker(ask: Callable[[], Readiness], *, has_gpu_device: bool) -> Iterator[HealthCheck]:
    """Whether a worker's libraries import, and what it computes on.

    Args:
        has_gpu_device: The system has a GPU, whatever torch says.
    """
    try:
        found = ask()
    except SweepError as error:
        yield fail("worker", f"its process gave no answer: {error}", INSTALL)
        return
    if found.broken:
        broken = [f"{name} ({error})" for name, error in found.broken.items()]
        yield fail("worker", f"can't import {_named(broken)}", INSTALL)
    else:
        yield ok("worker", "imports " + ", ".join(f"{name} {it}" for name, it in list(found.imported.items())[:4]))
    if useless := [f"{gpu.name} ({gpu.error})" for gpu in found.gpus if gpu.error]:
        remedy = "look at `nvidia-smi`: driver, memory, other processes"
        yield fail("gpu", f"can't compute on {_named(useless)}", remedy)
    elif found.gpus:
        spelled = [f"{gpu.name}, {gpu.free_gib:.0f} of {gpu.total_gib:.0f} GiB free" for gpu in found.gpus]
        yield ok("gpu", _named(spelled))
    elif has_gpu_device:
        remedy = "install the CUDA build of torch (README), or set `gpus_per_trial: 0` to mean the CPU"
        yield warn("gpu", "the system has one, but torch does not see it: trials would run on the CPU", remedy)
    else:
        yield ok("gpu", f"none; a worker computes on the CPU, {found.n_threads} threads when alone")


def required_packages() -> tuple[Requirement, ...] | None:
    """What the project depends on here, its extras aside; null where it was not installed."""
    if installed_version(PROJECT) is None:
        return None
    needs = (Requirement(line) for line in requires(PROJECT) or ())
    return tuple(need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""}))


def required_python() -> str | None:
    """The versions of Python that the project runs on; null where it was not installed."""
    return None if installed_version(PROJECT) is None else str(metadata(PROJECT)["Requires-Python"])


def installed_version(name: str) -> str | None:
    """The version of a package; null where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def pinned_versions(path: Path = CONSTRAINTS) -> dict[str, SpecifierSet]:
    """Pins by canonical name; none where the code was installed without its checkout."""
    try:
        lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {canonicalize_name(pin.name): pin.specifier for pin in map(Requirement, filter(None, lines))}


def _holds(specifier: SpecifierSet, found: str | None) -> bool:
    return found is not None and specifier.contains(found, prereleases=True)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
