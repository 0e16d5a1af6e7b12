"""The only Ray besides the actor: connect, prepare, and run a queue of trials on warm actors, one a slot.

Ray Tune executes and does not remember: its folder is scratch, and what a launch achieved is read from the store.
"""

import contextlib
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # halves the driver's cost a trial
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # stopping is ours: drain first, then abandon
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")  # a remote traceback may quote data
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray
from ray import tune
from ray.tune.search import Searcher

from orchestrator.actor import ENDING, PROGRESS, TrialActor, prepare_inputs, record_for_worker
from orchestrator.events import Ended, Listener, Progressed, Started, StopLevel
from orchestrator.study import Resources
from workers.contract.errors import ClusterError, InputError, Problem
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Ending, Progress

FINISHED = str(Searcher.FINISHED)
# A worker that vanishes is replaced this often before its trial counts as failed.
LOST_WORKER_RETRIES = 2
CONNECT_TIMEOUT_S = 5


@dataclass(frozen=True)
class Slots:
    """How many trials run at once, and what each holds."""

    n_slots: int
    cpus: float
    gpus: float

    @property
    def n_threads(self) -> int:
        """Threads of one worker."""
        return max(1, int(self.cpus))


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """A connection to a running cluster, or to a local one that lives as long as the block.

    Raises:
        ClusterError: No cluster answers at the address.
    """
    if address is not None:
        _check_answers(address)
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # we tell what failed ourselves, without data
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise _no_cluster(address, type(error).__name__) from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ray waits for ever for a head that is not there; a plain connection knows within seconds."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return  # `auto` and the like: Ray looks them up and says so itself
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise _no_cluster(address, error.strerror or type(error).__name__) from None


def _no_cluster(address: str | None, why: str) -> ClusterError:
    if address is None:
        return ClusterError(f"a local Ray could not be started ({why}); look into the newest folder of /tmp/ray")
    return ClusterError(
        f"--address {address}: no Ray cluster answers there ({why}); start one with `ray start --head`, "
        "give its host:port and its RAY_AUTH_TOKEN_PATH, or leave --address out to use this machine"
    )


def find_slots(resources: Resources) -> Slots:
    """How many trials the connected cluster holds at once; on GPUs where it has any.

    Raises:
        ClusterError: Not one trial fits.
    """
    available = ray.cluster_resources()
    cpus, gpus = float(available.get("CPU", 0)), float(available.get("GPU", 0))
    gpus_per_trial = resources.gpus_per_trial if gpus else 0.0
    # Whole nodes only: a trial never spans two.
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    n_slots = sum(
        int(
            min(
                node.get("CPU", 0) / resources.cpus_per_trial,
                node.get("GPU", 0) / gpus_per_trial if gpus_per_trial else float("inf"),
            )
        )
        for node in nodes
    )
    if n_slots < 1:
        raise ClusterError(
            f"resources: a trial asks for {resources.cpus_per_trial:g} CPUs and {gpus_per_trial:g} GPUs on one node; "
            f"the cluster's {len(nodes)} nodes have {cpus:g} and {gpus:g} in all; lower `resources` or add a node"
        )
    return Slots(n_slots, resources.cpus_per_trial, gpus_per_trial)


def prepare_on_cluster(groups: Sequence[Sequence[Path]], *, stop_level: Callable[[], StopLevel]) -> bool:
    """Make what the trials need, once; False where somebody stopped the launch meanwhile.

    The first group goes first, for the inputs that all share; the others follow side by side.

    Args:
        groups: Orders by base model.

    Raises:
        InputError: The inputs can't be made, or a trial does not fit them.
        ClusterError: The preparation broke.
    """
    problems: dict[str, Problem] = {}
    for wave in (groups[:1], groups[1:]):
        tasks = [prepare_inputs.remote([str(order) for order in orders]) for orders in wave]
        try:
            while tasks and ray.wait(tasks, num_returns=len(tasks), timeout=1)[1]:
                if stop_level() > StopLevel.GO_ON:
                    for task in tasks:
                        ray.cancel(task, force=True)
                    return False
            problems |= {str(problem): problem for found in ray.get(tasks) for problem in found}
        except ray.exceptions.RayError as error:
            cause = type(getattr(error, "cause", None) or error).__name__
            raise ClusterError(
                f"the inputs could not be prepared on the cluster ({cause}); "
                f"`python -m workers prepare {wave[0][0]}` shows why"
            ) from None
    if problems:
        raise InputError(*problems.values())
    return True


def run_trials(
    trial_ids: Sequence[str],
    layout: StoreLayout,
    slots: Slots,
    *,
    listener: Listener,
    stop_level: Callable[[], StopLevel],
) -> None:
    """Run the trials in the given order; every end is told to the listener and stands in the store.

    Raises:
        ClusterError: The cluster was lost on the way; what had ended is kept.
    """
    launch = f"launch-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
    queue = _Queue(
        [{"trial_id": name, "order": str(layout.order(name)), "n_threads": slots.n_threads} for name in trial_ids],
        stop_level,
    )
    tuner = tune.Tuner(
        tune.with_resources(TrialActor, {"CPU": slots.cpus, "GPU": slots.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=queue,
            num_samples=len(trial_ids),
            max_concurrent_trials=min(slots.n_slots, len(trial_ids)),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=launch,
            storage_path=str(layout.scratch),
            callbacks=[_Reporter(layout, listener)],
            stop=_Stopper(stop_level),
            failure_config=tune.FailureConfig(max_failures=LOST_WORKER_RETRIES),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except (ray.exceptions.RayError, tune.TuneError, RuntimeError, OSError, EOFError) as error:
        raise ClusterError(
            f"the cluster was lost while trials ran ({type(error).__name__}); what had ended is kept, run again"
        ) from None
    finally:
        shutil.rmtree(layout.scratch, ignore_errors=True)


class _NeverRestored:
    """Something that Tune pickles for a restore that never comes: its live connections stay here."""

    def __getstate__(self) -> dict[str, object]:
        return {}


class _Queue(_NeverRestored, Searcher):  # type: ignore[misc]
    """Hands Tune the next trial when a slot is free, in the order of the plan; nothing more after a stop."""

    def __init__(self, configs: Sequence[dict[str, Any]], stop_level: Callable[[], StopLevel]) -> None:
        super().__init__()
        self._waiting: list[dict[str, Any]] = list(reversed(configs))
        self._stop_level = stop_level

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial's config."""
        if not self._waiting or self._stop_level() > StopLevel.GO_ON:
            return FINISHED
        return self._waiting.pop()

    def on_trial_complete(self, *_: object, **__: object) -> None:
        """Nothing: the store knows."""

    def save(self, *_: object, **__: object) -> None:
        """Nothing: a launch is never restored."""

    def restore(self, *_: object, **__: object) -> None:
        """Nothing: a launch is never restored."""


class _Stopper(_NeverRestored, tune.Stopper):  # type: ignore[misc]
    """Abandons running trials when asked to stop now."""

    def __init__(self, stop_level: Callable[[], StopLevel]) -> None:
        self._stop_level = stop_level

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Whether everything ends at once."""
        return self._stop_level() >= StopLevel.NOW


class _Reporter(_NeverRestored, tune.Callback):  # type: ignore[misc]
    """Translates Tune's callbacks into events."""

    def __init__(self, layout: StoreLayout, listener: Listener) -> None:
        self._layout = layout
        self._listener = listener
        self._started_at: dict[str, datetime] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: object) -> None:
        """A slot took the trial."""
        name = trial.config["trial_id"]
        self._started_at[name] = datetime.now(UTC)
        self._listener(Started(name))

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,
        result: dict[str, Any],
        **_: object,
    ) -> None:
        """About once a second, and at the end."""
        if ending := result.get(ENDING):
            self._listener(Ended(Ending.model_validate(ending)))
        elif progress := result.get(PROGRESS):
            self._listener(Progressed(trial.config["trial_id"], Progress.model_validate(progress)))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: object) -> None:
        """A worker vanished and Tune will try another: the try is recorded, the trial goes on."""
        self._record(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: object) -> None:
        """Tune gave the trial up: its workers vanished again and again."""
        self._listener(Ended(self._record(trial)))

    def _record(self, trial: Any) -> Ending:
        name = trial.config["trial_id"]
        started_at = self._started_at.get(name, datetime.now(UTC))
        return record_for_worker(name, self._layout, error=trial.get_pickled_error(), started_at=started_at)
