"""What schedules play: a real study, which trials it has, and what these write."""

import io
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, get_args

import pyarrow.parquet as pq

from orchestrator.design.grid import Design, expand
from orchestrator.study.study import Study, load_study
from support.stores.builders import history_of, invent_people, predict, split_scores, usual_signal
from support.studies.micro_study import write_study
from support.studies.played_trials import Play, trials
from workers.contract.outcome import PREDICTIONS, Split, SplitScores
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import Trial


@dataclass(frozen=True, eq=False)
class Scene:
    """A study, its trials, who plays them, and the trials that come and go where somebody edits it."""

    study: Study
    design: Design
    play: Callable[[], Play] = Play
    editable: tuple[Trial, ...] = ()


class Scored(Play):
    """Its predictions can be looked at: labels rank better than rationales, or all rank alike."""

    is_clear = False
    scores: ClassVar[Mapping[Split, SplitScores]] = dict.fromkeys(get_args(Split), split_scores(auc=0.7))

    def body(self, trial: Trial, name: str) -> bytes:
        """Predictions and history; who reads the adapter does not look into it."""
        return _table(trial, name, self.is_clear) if name.endswith(".parquet") else b""


class Clear(Scored):
    """A study of these ends at its look."""

    is_clear = True


@cache
def plain() -> Scene:
    """The trials of one study in place of those of another."""
    with tempfile.TemporaryDirectory() as folder:
        return Scene(load_study(write_study(Path(folder))), Design(trials(), ()), editable=trials())


@cache
def looking(play: type[Scored]) -> Scene:
    """Two cells with a look at the first, and the controls that it takes to end there."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_study(Path(folder), seeds="1, 2")
        text = path.read_text().replace("controls: [age_sex]", "controls: [zero_shot, permuted_labels]")
        path.write_text(f"{text}looks: [0.5]\n")
        study = load_study(path)
    return Scene(study, expand(study), play)


def _table(trial: Trial, name: str, is_clear: bool) -> bytes:
    factor = 5.0 if trial.spec.supervision is Supervision.LABEL_ONLY else 0.1
    signal = usual_signal(trial) * factor if is_clear else float(trial.role == "grid")
    is_predictions = name == PREDICTIONS
    table = predict(_PEOPLE, trial, signal=signal, invalid_rate=0.0) if is_predictions else history_of(trial)
    body = io.BytesIO()
    pq.write_table(table, body)
    return body.getvalue()


_PEOPLE = invent_people(500)
