"""Trials whose outcomes are told, not trained, and the study that launches them in this process."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.design.grid import Design, expand
from orchestrator.execution.events import Event
from orchestrator.study.study import Study, load_study
from support.stores.builders import People, commit_trial, predict, write_attempt
from workers.contract.answers.ending import Ending
from workers.contract.layout import StoreLayout
from workers.contract.outcome import FailureKind
from workers.contract.trial import Trial


@dataclass(frozen=True)
class Told:
    """A worker that commits a trial at once, or fails before it makes a folder."""

    layout: StoreLayout
    trial: Trial
    people: People
    signal: float
    fails: bool = False

    def look(self, hear: Callable[[Event], None]) -> Ending | None:
        if self.fails:
            write_attempt(self.layout, self.trial, number=1, kind=FailureKind.DATA)
            return Ending(trial_id=self.trial.trial_id, state="failed", failure=FailureKind.DATA)
        scored = predict(self.people, self.trial, signal=self.signal, invalid_rate=0.0)
        return Ending.of(commit_trial(self.layout, self.trial, scored))

    def abandon(self) -> None: ...


@dataclass
class ToldStudy:
    """A study file, its store, and what launches of it said."""

    path: Path
    layout: StoreLayout
    said: io.StringIO = field(default_factory=io.StringIO, kw_only=True)

    @property
    def study(self) -> Study:
        return load_study(self.path)

    @property
    def design(self) -> Design:
        return expand(self.study)
