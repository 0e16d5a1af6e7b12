"""A queue of trials on warm actors, one a slot, by Ray Tune.

Tune executes and does not remember: its folder is scratch, and what a launch achieved is read from the store.
"""

import gc
import os
import pickle
import signal
import socket
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # halves the driver's cost a trial
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # stopping is ours: drain first, then abandon
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")  # a remote traceback may quote data
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1e9")  # it remembers for a restore that never comes

import ray
from ray import tune
from ray.tune.execution.class_cache import _ActorClassCache
from ray.tune.search import Searcher

from orchestrator.execution.events import Progressed, Started, StopLevel
from orchestrator.execution.executor import Overseer
from orchestrator.execution.on_ray.actor import ENDING, NODE, PROGRESS, SpentWorkerError, TrialActor
from orchestrator.execution.on_ray.connection.cluster import Lifeline
from orchestrator.execution.on_ray.lost_workers import Began, Node, UnfitNodeError, record_for_worker
from orchestrator.execution.on_ray.nodes.roster import Roster
from orchestrator.execution.on_ray.peers import Placement
from orchestrator.execution.on_ray.roll_call import drain
from orchestrator.study.resources import TrialShare
from workers.contract.answers.ending import Ending
from workers.contract.answers.roll_call import RollCall
from workers.contract.errors import NO_ROOM, ClusterLostError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Progress
from workers.contract.system.removal import try_to_remove

# Tune's own would hand each actor the driver's keys of AWS, in a runtime environment that the head shows to all.
_ActorClassCache.get = staticmethod(cache(ray.remote))
# So often may a node be found unfit before nothing more is placed on it.
STRIKES = 2
TAKEN_BY_TUNE = signal.SIGUSR1
FINISHED = str(Searcher.FINISHED)
NO_NODE = "the cluster was lost: no node with room for a trial is left; what had ended is kept, run again"


def run_trials(
    shares: Mapping[str, TrialShare],
    layout: StoreLayout,
    roster: Roster,
    lifeline: Lifeline,
    overseer: Overseer,
    *,
    call: RollCall | None,
) -> None:
    """Run the trials, each on its share, as a pool does: those that take most first, and others beside them.

    Tune retries nothing: what the judge sends back is handed out again, on whatever slot is free.
    """
    asked = call and call.model_dump()
    configs = [
        {"trial_id": name, "order": str(layout.order(name)), "share": share, "call": asked}
        for name, share in sorted(shares.items(), key=lambda each: each[1].size, reverse=True)
    ]
    queue = _Queue(configs, overseer, roster)
    reporter, stopper = _Reporter(queue, overseer, lifeline), _Stopper(overseer, lifeline, roster)
    name = f"launch-{datetime.now(UTC):%Y%m%dT%H%M%S}-{socket.gethostname()}-{os.getpid()}"
    tuner = tune.Tuner(
        tune.with_resources(TrialActor, lambda config: Placement(config["share"])),
        tune_config=tune.TuneConfig(
            search_alg=queue,
            num_samples=-1,  # the queue says when it is empty
            max_concurrent_trials=len(shares),  # the queue holds back what no slot is free for
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(layout.scratch),
            callbacks=[reporter],
            stop=stopper,
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a slot would wait for it
            verbose=0,
        ),
    )
    gc.freeze()  # half a million objects of libraries, which each full collection would look through again
    try:
        _fit(tuner)
    finally:
        try_to_remove(layout.scratch / name, within=layout.root)  # a driver in our place has its own beside it
        with suppress(OSError):
            layout.scratch.rmdir()
    if lifeline.is_cut:
        raise ClusterLostError(lifeline.why or NO_NODE)


def _fit(tuner: tune.Tuner) -> None:
    """Let Tune run; what it raises of its own is the end of the launch, and no fault of a trial."""
    try:
        tuner.fit()
    except (ray.exceptions.RayError, tune.TuneError, RuntimeError, OSError, EOFError) as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        what = f"the cluster, or the store, was lost while trials ran ({type(error).__name__})"
        raise ClusterLostError(f"{what}; what had ended is kept, run again") from None


def error_of(trial: Any) -> object:
    """What Ray says of a trial that just failed; None where it doesn't say.

    `Trial.get_pickled_error` looks where Tune copies the file to, later: at this moment it finds nothing.
    """
    try:
        return ray.cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    except (TypeError, OSError, EOFError, pickle.UnpicklingError):
        return None


def ending_in(error: object) -> Ending | None:
    """How a trial ended whose worker went with it, having recorded the attempt itself."""
    spent = getattr(error, "cause", None)
    return Ending.model_validate_json(spent.ending) if isinstance(spent, SpentWorkerError) else None


class _NeverRestored:
    """Something that Tune pickles for a restore that never comes: its live connections stay here."""

    def __getstate__(self) -> dict[str, object]:
        return {}


class _Queue(_NeverRestored, Searcher):  # type: ignore[misc]
    """Hands Tune the next trial that there is room for, in the given order; nothing more after a stop.

    A trial that is tried again goes first: what it waited for is usually gone, and a common fault shows early.
    """

    def __init__(self, configs: Sequence[dict[str, Any]], overseer: Overseer, roster: Roster) -> None:
        super().__init__()
        self._waiting: list[dict[str, Any]] = list(reversed(configs))
        self._out: dict[str, dict[str, Any]] = {}
        self._overseer = overseer
        self._roster = roster
        roster.demand = Counter(config["share"] for config in configs)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's config; None while no slot is free, or what runs may still come back."""
        if self._overseer.stop_level() > StopLevel.GO_ON:
            return FINISHED
        beside, full = Counter(config["share"] for config in self._out.values()), set[TrialShare]()
        for place in range(len(self._waiting) - 1, -1, -1):
            if len(full) == len(self._roster.demand):
                break
            config = self._waiting[place]
            share = config["share"]
            if share in full or not self._overseer.may_start(config["trial_id"]):
                continue
            if self._roster.has_room(share, beside=beside):
                self._out[config["trial_id"]] = self._waiting.pop(place)
                return dict(config)
            full.add(share)
        return None if full or self._out else FINISHED

    def take_back(self, trial_id: str, *, again: bool) -> None:
        """An attempt ended; whether its trial is handed out again."""
        config = self._out.pop(trial_id, None)
        if again and config is not None:
            self._waiting.append(config)
        elif config is not None:
            self._roster.release(config["share"])

    def on_trial_complete(self, *_: object, **__: object) -> None:
        """Nothing: the store knows."""

    def save(self, *_: object, **__: object) -> None:
        """Nothing: a launch is never restored."""

    def restore(self, *_: object, **__: object) -> None:
        """Nothing: a launch is never restored."""


class _Stopper(_NeverRestored, tune.Stopper):  # type: ignore[misc]
    """Abandons trials when asked to stop now, or at all where none can run.

    Being asked all the time, it tells of nodes and asks for them.
    """

    def __init__(self, overseer: Overseer, lifeline: Lifeline, roster: Roster) -> None:
        self._overseer = overseer
        self._lifeline = lifeline
        self._roster = roster

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Whether everything ends at once."""
        if news := self._roster.news():
            self._overseer.hear(news)
        self._roster.ask()
        is_lost, level = self._lifeline.check(), self._overseer.stop_level()
        return is_lost or level >= (StopLevel.DRAIN if self._lifeline.is_waiting else StopLevel.NOW)


class _Reporter(_NeverRestored, tune.Callback):  # type: ignore[misc]
    """Translates Tune's callbacks, which come by name, into events and verdicts."""

    def __init__(self, queue: _Queue, overseer: Overseer, lifeline: Lifeline) -> None:
        self._queue = queue
        self._overseer = overseer
        self._lifeline = lifeline
        self._began: dict[str, Began] = {}
        self._strikes: Counter[str] = Counter()
        self._on_signal = signal.getsignal(TAKEN_BY_TUNE)

    def on_step_begin(self, **_: object) -> None:
        """Take back the signal that Tune makes its own: it would end the launch without resume points."""
        if (
            signal.getsignal(TAKEN_BY_TUNE) is not self._on_signal
            and threading.current_thread() is threading.main_thread()
        ):
            signal.signal(TAKEN_BY_TUNE, self._on_signal)

    def on_trial_start(self, *, trial: Any, **_: object) -> None:
        """A slot took the trial."""
        name = trial.config["trial_id"]
        self._began[name] = Began()
        self._overseer.hear(Started(name))

    def on_trial_result(self, *, trial: Any, result: dict[str, Any], **_: object) -> None:
        """About once a second, and at the end."""
        name = trial.config["trial_id"]
        if ending := result.get(ENDING):
            self._end(Ending.model_validate_json(ending))
        elif progress := result.get(PROGRESS):
            position, began = Progress.model_validate_json(progress), self._began[name]
            began.node = Node(**result[NODE])
            if position.started_at:
                began.at = datetime.fromisoformat(position.started_at)
            self._overseer.hear(Progressed(name, position))

    def on_trial_complete(self, *, trial: Any, **_: object) -> None:
        """Forget what Tune would keep to the end, and write down then: the course of each of a trial's numbers."""
        trial.run_metadata.metric_analysis, trial.run_metadata.metric_n_steps = {}, {}

    def on_trial_error(self, *, trial: Any, **_: object) -> None:
        """The worker vanished, could not take the trial, or is of no more use after it."""
        error = error_of(trial)
        if ending := ending_in(error):
            self._end(ending)
            return
        if isinstance(unfit := getattr(error, "cause", None), UnfitNodeError):
            self._strikes[unfit.node_id] += 1
            if self._strikes[unfit.node_id] == STRIKES and not drain(unfit.node_id):
                self._lifeline.give_up(f"node {unfit.host}, which can't be left out, turned unfit: {unfit.cause}")
        began = self._began.get(trial.config["trial_id"]) or Began()
        self._end(record_for_worker(trial.config["order"], error=error, began=began))

    def _end(self, ending: Ending) -> None:
        self._queue.take_back(ending.trial_id, again=self._overseer.judge(ending))
