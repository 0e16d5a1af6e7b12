"""Everything that `sweep doctor` looks at, in order; what can't be asked without a study or a store is left out.

Takes as long as a worker needs to import its libraries while a Ray starts beside it, about 8 s; joining a cluster
comes on top.
"""

import os
import platform
import time
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from orchestrator.asking import ask
from orchestrator.design.grid import Design, expand
from orchestrator.design.plan import make_plan
from orchestrator.doctor import machine, packages, services, store
from orchestrator.doctor.check import Grade, HealthCheck, fail, ok
from orchestrator.execution.on_ray.connection.head import head_address
from orchestrator.launch.forecast.needs import forecast_disk
from orchestrator.launch.mustering import problems_of, roll_call
from orchestrator.launch.preparing import is_cached, is_there, missing_models
from orchestrator.saying.addressing import database_path
from orchestrator.store.holding import lock_holder
from orchestrator.store.orders import order_of
from orchestrator.store.outcomes import Outcomes, read_attempts, read_outcomes
from orchestrator.study.files import source_problems
from orchestrator.study.resources import Resources
from orchestrator.study.study import Study
from orchestrator.tracking.place import database_uri
from workers.contract.answers.questions import READINESS, SKETCH_BASES
from workers.contract.answers.readiness import Readiness, ReadinessRequest
from workers.contract.answers.sketches import Sketched, SketchQuestion
from workers.contract.errors import ClusterError, StoreError, SweepError
from workers.contract.inputs import InputKind
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, Record
from workers.contract.recipes.bases import HubBase
from workers.contract.recipes.teaching import EndpointTeacherRecipe
from workers.contract.trial import Trial, WorkOrder

EXIT_WELL, EXIT_FAILS = 0, 3
ASK_WORKER, ASK_BASES = partial(ask, READINESS, ReadinessRequest()), partial(ask, SKETCH_BASES)


class Diagnosis(Record):
    """Every check, in the order in which they are told."""

    checks: tuple[HealthCheck, ...]

    @property
    def exit_code(self) -> int:
        """0 where a launch would work, 3 where it would not."""
        return EXIT_FAILS if any(check.grade is Grade.FAIL for check in self.checks) else EXIT_WELL


def diagnose(
    study: Study | None = None,
    layout: StoreLayout | None = None,
    *,
    address: str | None = None,
    tracking_uri: str | None = None,
    ask_worker: Callable[[], Readiness] = ASK_WORKER,
    ask_bases: Callable[[SketchQuestion], Sketched] = ASK_BASES,
    start_ray: Callable[[], str] = services.start_ray,
) -> Diagnosis:
    """Look at this machine and, where they are given, at a study, its store and what a launch would talk to.

    Args:
        ask_worker: Has a worker try its libraries and devices.
        ask_bases: Has a worker read configurations and tokenizers of bases.
        start_ray: Tries a Ray of our own, which a launch without an address needs; says why it does not start.

    Raises:
        InputError: The address is none.
    """
    address = None if address is None else head_address(address)
    has_gpu_device = any(Path("/dev").glob("nvidia[0-9]*"))
    outcomes = Outcomes({})
    with suppress(StoreError):  # a folder that can't be read is told of by the store's own checks
        outcomes = read_outcomes(layout) if layout else outcomes
    with ThreadPoolExecutor(max_workers=2) as pool:
        worker = pool.submit(lambda: list(packages.check_worker(ask_worker, has_gpu_device=has_gpu_device)))
        ray = None if address else pool.submit(services.check_ray, start_ray)
        mine = [*_environment(study, outcomes), *_services(study, layout, outcomes, address, tracking_uri)]
        if study is not None and layout is not None:
            mine += _study(study, layout, outcomes, tracking_uri, ask_bases)
        checks = (*mine[:2], *worker.result(), ray and ray.result(), *mine[2:])
        return Diagnosis(checks=tuple(filter(None, checks)))


def _environment(study: Study | None, outcomes: Outcomes) -> Iterator[HealthCheck]:
    """The two about packages first."""
    yield packages.check_python(platform.python_version(), required=packages.required_python())
    yield packages.check_packages(packages.required_packages(), packages.installed_version, packages.pinned_versions())
    peaks = [outcome.cost.peak_memory_mib for outcome in outcomes.committed.values()]
    shares = [study.resources.share_of(base) for base in study.base_names] if study else [Resources()]
    yield from machine.check_machine(machine.read_capacity(), shares, peak_mib=max(peaks, default=None))


def _services(
    study: Study | None, layout: StoreLayout | None, outcomes: Outcomes, address: str | None, tracking_uri: str | None
) -> Iterator[HealthCheck | None]:
    """Null where there is nothing to ask."""
    if address is not None:
        yield from services.check_cluster(address, lambda place: _join(place, study, layout))
    yield services.check_token(os.environ, address=address)
    uri = tracking_uri or (database_uri(layout) if layout else None)
    if uri is None:
        return
    if uri.startswith(("http://", "https://")):
        yield services.check_server(uri, reach=services.reach)
    elif path := database_path(uri):
        yield services.check_database(path, file_system=file_system_of(path))
        if study is not None and layout is not None and lock_holder(layout) is None:
            yield services.check_tracked(path, outcomes.committed, store=layout.root)
    else:
        yield ok("tracking", f"{uri.partition(':')[0]} is not looked at from here")


def _study(
    study: Study,
    layout: StoreLayout,
    outcomes: Outcomes,
    tracking_uri: str | None,
    ask_bases: Callable[[SketchQuestion], Sketched],
) -> Iterator[HealthCheck | None]:
    """What the study names, and its store."""
    design, problems = expand(study), source_problems(study)
    if not problems:
        yield ok("sources", "data and weights are there, and are the ones that the study names")
    yield from (fail(f"sources: {each.where}", each.what, each.remedy) for each in problems)
    absent = {name for name in study.bases for each in problems if each.where.startswith(f"bases.{name}.")}
    firsts = {
        str(trial.coordinates["base"]): trial
        for trial in reversed(design.everything)
        if trial.trial_id not in outcomes.committed and _has_base_here(trial, absent, layout)
    }
    yield from _bases([order_of(trial, study, layout) for trial in firsts.values()], ask_bases)
    yield from _elsewhere(study, design, outcomes, layout)
    attempts: dict[str, list[Attempt]] = {}
    with suppress(StoreError):
        attempts = read_attempts(layout)
    plan = make_plan(design, outcomes, attempts, study=study.study)
    forecast = forecast_disk(plan, layout, tracks_here=tracking_uri is None)
    yield from store.check_folder(layout, forecast=forecast)
    if not layout.root.is_dir():
        return
    yield store.check_driver(layout, lock_holder(layout))
    yield store.check_outcomes(layout, outcomes, design)
    yield store.check_leftovers(layout, outcomes, design)
    yield store.check_clock(layout, now=time.time())


def _has_base_here(trial: Trial, absent: Container[str], layout: StoreLayout) -> bool:
    """Whether a base can be looked at without fetching it."""
    spec = trial.spec
    if spec.base is None or trial.coordinates.get("base") in absent:
        return False
    return not isinstance(spec.base, HubBase) or is_there(InputKind.BASE, spec, layout) or is_cached(spec.base)


def _bases(orders: Sequence[WorkOrder], ask: Callable[[SketchQuestion], Sketched]) -> Iterator[HealthCheck]:
    """Whether each base can be read, as far as configuration and tokenizer go, and has room for an answer."""
    if not orders:
        return
    try:
        found = ask(SketchQuestion(orders=tuple(orders)))
    except SweepError as error:
        yield fail("bases", f"a worker could not read them: {error}", packages.INSTALL)
        return
    wrong = {problem.where.partition(".")[2] for problem in found.problems}
    for name, base in found.bases.items():
        if name not in wrong:
            what = f"{base.context_tokens:,} tokens of context, {base.longest_answer_tokens} of them for an answer line"
            yield ok(f"bases.{name}", what)
    yield from (fail(each.where, each.what, each.remedy) for each in found.problems)


def _elsewhere(study: Study, design: Design, outcomes: Outcomes, layout: StoreLayout) -> Iterator[HealthCheck | None]:
    """The hub and the teacher's endpoint, where what is missing needs them."""
    specs = [trial.spec for trial_id, trial in design.by_id.items() if trial_id not in outcomes.committed]
    to_fetch = {base.id for base in missing_models(specs, layout)}
    hub, is_offline = os.environ.get("HF_ENDPOINT", "https://huggingface.co"), bool(os.environ.get("HF_HUB_OFFLINE"))
    yield services.check_hub(to_fetch, hub=hub, reach=services.reach, is_offline=is_offline)
    is_taught = any(
        isinstance(spec.teacher, EndpointTeacherRecipe) and not is_there(InputKind.RATIONALES, spec, layout)
        for spec in specs
    )
    if is_taught and study.endpoint is not None:
        place = study.endpoint
        yield services.check_endpoint(place.base_url, place.api_key_variable, environ=os.environ, reach=services.reach)


def _join(address: str, study: Study | None, layout: StoreLayout | None) -> services.Joined:
    from orchestrator.execution.on_ray.connection.cluster import cluster
    from orchestrator.execution.on_ray.nodes.roster import find_slots
    from orchestrator.execution.on_ray.nodes.scaling import is_scaled
    from orchestrator.execution.on_ray.roll_call import ask_nodes

    with cluster(address):
        try:
            slots = find_slots(*((study.resources, study.base_names) if study else (Resources(), [None])))
            room = f"{slots.n_slots} trials at once, on {slots.device}s"
        except ClusterError:
            if not is_scaled():
                raise
            room = "no room for a trial yet, and an autoscaler, which a launch asks for nodes"
        if study is None:
            return services.Joined(room)
        with roll_call(study, layout if layout and layout.root.is_dir() else None) as call:
            nodes = ask_nodes(call)
            return services.Joined(room, nodes, tuple(problems_of(call, nodes)))


def file_system_of(path: Path) -> str:
    """The kind of file system that a path lies on, as `nfs4`; empty where nobody says."""
    mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    return next((mounts[place] for place in (path, *path.resolve().parents) if place in mounts), "")
