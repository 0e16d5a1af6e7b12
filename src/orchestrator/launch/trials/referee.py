"""Who hears what becomes of each attempt of a launch, and what follows a failure."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property, partial

from orchestrator.design.looks import Phase
from orchestrator.execution.events import Ended, Event, Progressed, Requeued, StopLevel, withheld
from orchestrator.execution.recovery import Recovery
from orchestrator.launch.forecast.taken import Taken
from orchestrator.launch.launch import Launch
from orchestrator.launch.record import LaunchRecord, TrialTracked
from orchestrator.launch.screen.board import Board, longest_first
from orchestrator.launch.screen.console import Watch
from orchestrator.launch.sealing import goes_on_after
from orchestrator.launch.trials.saving import Saving
from orchestrator.store.orders import write_order
from orchestrator.store.outcomes import attempts_at, read_outcome
from workers.contract.answers.ending import Ending
from workers.contract.errors import StoreError
from workers.contract.outcome import Progress
from workers.contract.trial import Trial


@dataclass(frozen=True)
class Queue:
    """The trials of one launch, how many of the study were done before, and what has to have run by when.

    taken: What trials took that ended before.
    """

    trials: tuple[Trial, ...]
    n_kept: int
    phases: tuple[Phase, ...]
    taken: Taken = field(default_factory=dict)

    @cached_property
    def by_id(self) -> dict[str, Trial]:
        """In the order in which they are handed out."""
        return {trial.trial_id: trial for trial in sorted(self.trials, key=longest_first)}


@dataclass(frozen=True)
class Referee:
    """Tells screen, record and MLflow what becomes of the trials, and judges which failed ones are tried again."""

    launch: Launch
    queue: Queue
    recovery: Recovery
    _: KW_ONLY
    board: Board
    screen: Watch
    record: LaunchRecord
    asked: Callable[[], StopLevel]
    saving: Saving = field(default_factory=Saving)
    saved_steps: dict[str, int] = field(default_factory=dict)

    def stop_level(self) -> StopLevel:
        """What was asked, or what follows from the failures so far."""
        return max(self.saving.level(self.asked()), self.recovery.stop_level)

    def may_start(self, trial_id: str) -> bool:
        """Whether it would end, or leave a resume point, before the launch must."""
        until, method = self.launch.until, self.queue.by_id[trial_id].spec.method
        return until is None or until.allows(self.board.expected_s(trial_id), is_resumable=method.does.trains)

    def goes_on_after(self, phase: Phase) -> bool:
        """Whether the next phase may begin: nobody asked to stop, and the study has not ended at this one's look."""
        launch = self.launch
        if self.stop_level() > StopLevel.GO_ON:
            return False
        return goes_on_after(phase, launch.study, launch.design, launch.layout, tell=launch.console.print)

    def hear(self, event: Event) -> None:
        """Pass on that a trial began, moved on or ended; of its scores, what may be seen."""
        self.saving.hear(event)
        if self.launch.layout.is_blinded:
            event = withheld(event)
        self.screen.see(event)
        self.record.hear(event)
        match event:
            case Progressed(trial_id, position):
                self._follow(trial_id, position)
            case Ended(ending) | Requeued(ending):
                self._project(ending)
                self.launch.tracking.progress(self.board.progress)

    def judge(self, ending: Ending) -> bool:
        """Whether the trial goes back to the queue; its order then says how it is tried again."""
        if ending.failure is None:
            self.recovery.succeeded()
            self.hear(Ended(ending))
            return False
        trial_id = ending.trial_id
        before = self.recovery.n_micro_batches(trial_id)
        decision = self.recovery.after(ending.failure, trial_id=trial_id, detail=ending.detail)
        if (n_micro_batches := self.recovery.n_micro_batches(trial_id)) != before:
            launch, trial = self.launch, self.queue.by_id[trial_id]
            write_order(trial, launch.study, launch.layout, n_micro_batches=n_micro_batches, profiles=launch.profiles)
        self.hear(Requeued(ending, decision.why) if decision.is_tried_again else Ended(ending))
        return decision.is_tried_again

    def _follow(self, trial_id: str, position: Progress) -> None:
        """Tell MLflow that an attempt began, and what of its steps can't be lost any more."""
        tracking = self.launch.tracking
        if position.started_at:
            tracking.start(trial_id, position.started_at, attempts_at(self.launch.layout, trial_id))
        if position.saved_step > self.saved_steps.get(trial_id, 0):
            self.saved_steps[trial_id] = position.saved_step
            tracking.resumable(trial_id)

    def _project(self, ending: Ending) -> None:
        """Tell MLflow what the store holds now; what can't be read is not told: reconciling makes up for it."""
        layout, tracking = self.launch.layout, self.launch.tracking
        with suppress(StoreError):
            attempts = attempts_at(layout, ending.trial_id)
            if ending.state != "failed":
                told = partial(self._tracked, ending.trial_id) if self.launch.profiles else None
                tracking.commit(read_outcome(layout, ending.trial_id), attempts, told=told)
            elif attempts:
                tracking.fail(attempts)

    def _tracked(self, trial_id: str, seconds: float) -> None:
        self.record.write(TrialTracked(trial_id=trial_id, seconds=round(seconds, 4)))
