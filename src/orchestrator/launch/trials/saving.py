"""Which running trials have yet to leave a resume point, before a launch that must end may abandon them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.execution.events import Ended, Event, Progressed, Requeued, StopLevel

# Longer than any resume point takes; a worker that does not answer is abandoned without one.
WITHIN_S = 60.0


@dataclass
class Saving:
    """Whoever trains and has not said that it saved is waited for, a minute at most."""

    clock: Callable[[], float] = time.monotonic
    _unsaved: set[str] = field(default_factory=set, init=False)
    _since_s: float | None = field(default=None, init=False)

    def hear(self, event: Event) -> None:
        """Take note of what a trial does."""
        match event:
            case Progressed(trial_id, progress) if progress.phase == "training" and not progress.is_saved:
                self._unsaved.add(trial_id)
            case Progressed(trial_id):
                self._unsaved.discard(trial_id)
            case Requeued(ending) | Ended(ending):
                self._unsaved.discard(ending.trial_id)

    def level(self, asked: StopLevel) -> StopLevel:
        """What is asked; NOW once everything is saved that can be."""
        if asked is not StopLevel.SAVE:
            return asked
        now = self.clock()
        self._since_s = now if self._since_s is None else self._since_s
        return StopLevel.SAVE if self._unsaved and now - self._since_s < WITHIN_S else StopLevel.NOW
