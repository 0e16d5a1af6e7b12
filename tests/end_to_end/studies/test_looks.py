"""A study that stops when its answer is known: what runs by each look, what is spared, and who sees what when."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.analysis.checks.phases import planned_phases
from orchestrator.explain.lookup import Known
from orchestrator.launch.launch import Launch
from orchestrator.launch.reporting import find_out
from orchestrator.launch.run import RunSummary, plan_study, run_study
from orchestrator.launch.sealing import goes_on_after
from orchestrator.store.outcomes import committed_ids, read_store
from orchestrator.store.sealing import Look, Opening, read_looks, record_look
from support.executors.in_process import InProcess, Untracked, write_pages
from support.executors.told import Told, ToldStudy
from support.launches.command_line import sweep_here
from support.stores.builders import invent_people, usual_signal, write_attempt
from support.studies.micro_study import write_study
from workers.contract.errors import InputError, StoreError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import Trial

PEOPLE = invent_people(500)
SEEDS = "1, 2, 3, 4, 5, 6"


class KilledError(Exception):
    """The end of a driver."""


@dataclass
class Place(ToldStudy):
    """A study file with looks, its store, and in which order its trials began."""

    signal: Callable[[Trial], float]
    unfit: str = ""
    began: list[str] = field(default_factory=list)

    @property
    def due(self) -> frozenset[str]:
        """By the first look."""
        return planned_phases(self.study, self.design)[0].trial_ids

    def launch(self, *, kill_after: int | None = None) -> RunSummary:
        design = self.design

        def begin(order: Path) -> Told:
            if kill_after is not None and len(self.began) >= kill_after:
                raise KilledError
            self.began.append(order.stem)
            trial = design.by_id[order.stem]
            return Told(self.layout, trial, PEOPLE, self.signal(trial), fails=order.stem == self.unfit)

        executor, console = InProcess(begin, n_slots=1, prepares=False), Console(file=self.said, width=200)
        launch = Launch(
            self.study, design, self.layout, executor, Untracked(self.layout), console,
            write_report=write_pages,
        )  # fmt: skip
        return run_study(launch)


def place_at(folder: Path, *, looks: str = "[0.5]", signal: Callable[[Trial], float]) -> Place:
    layout = StoreLayout(folder / "store" / "micro")
    layout.root.mkdir(parents=True, mode=0o700)
    path = write_study(folder, seeds=SEEDS)
    text = path.read_text().replace("train_size: [32]", "train_size: [32, 64]")
    text = text.replace("controls: [age_sex]", "controls: [zero_shot, permuted_labels, age_sex]")
    path.write_text(f"{text}looks: {looks}\n")
    return Place(path, layout, signal)


def is_of_labels(trial: Trial) -> bool:
    return trial.role == "grid" and trial.coordinates["supervision"] == "label_only"


@pytest.fixture
def clear(tmp_path: Path) -> Place:
    """Labels beat rationales by far, where they were not permuted."""
    return place_at(tmp_path, signal=lambda trial: usual_signal(trial) * (5 if is_of_labels(trial) else 0.1))


@pytest.fixture
def unclear(tmp_path: Path) -> Place:
    """All trials are alike but for their noise."""
    return place_at(tmp_path, signal=lambda trial: 0.0 if trial.role == "control" else 1.0)


def test_a_study_ends_at_a_look_and_spares_the_rest(clear: Place) -> None:
    summary = clear.launch()
    (look,) = read_looks(clear.layout)
    assert (look.decision, look.n_cells, look.n_complete) == ("end", 6, 6), look.why
    assert look.high is not None
    assert look.high < 0
    assert summary.exit_code == 0
    assert set(clear.began) == set(look.trial_ids) == set(committed_ids(clear.layout))
    (_, plan) = plan_study(clear.study, clear.layout)
    assert plan.counts["spared"] == 12
    assert not plan.todo
    assert json.loads(clear.layout.unblinding.read_text())["why"] == Opening.LOOK
    n_before = len(clear.began)
    assert clear.launch().exit_code == 0
    assert len(clear.began) == n_before
    findings = find_out(clear.study, clear.design, clear.layout, read_store(clear.layout))
    assert findings.contrasts[0].n_cells == findings.contrasts[0].n_complete == 6
    assert {row.role: row.spared for row in findings.completeness} == {"grid": 12, "control": 0}
    strict = findings.contrasts[0].widest[Scoring.STRICT]
    assert strict is not None
    assert (strict.low, strict.high) == pytest.approx((look.low, look.high))
    assert "The study ended at look 1" in findings.answer
    assert not any("planned trials have no scores" in warning for warning in findings.warnings)


def test_a_look_that_knows_no_answer_goes_on_and_nobody_sees_scores(unclear: Place) -> None:
    summary = unclear.launch()
    (look,) = read_looks(unclear.layout)
    assert look.decision == "go_on"
    assert summary.exit_code == 0
    assert len(committed_ids(unclear.layout)) == len(unclear.design.everything)
    told = "look 1 of 1, at 50% of the cells: the study goes on"
    assert told in unclear.said.getvalue()
    said = sweep_here("status", unclear.layout.root, cwd=unclear.path.parent).stdout
    assert [line for line in said.splitlines() if line.startswith("looked")] == [f"looked   {told}"]
    findings = find_out(unclear.study, unclear.design, unclear.layout, read_store(unclear.layout))
    widest = findings.contrasts[0].widest
    assert look.information is not None
    assert "1 look was taken before the end" in findings.answer
    assert widest.name == look.layer


def test_a_driver_that_dies_between_decision_and_record_looks_again(
    unclear: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr("orchestrator.launch.sealing.record_look", die)
        unclear.launch()
    began = set(unclear.began)
    assert read_looks(unclear.layout) == ()
    assert unclear.layout.is_blinded
    assert all(one.is_withheld for one in read_store(unclear.layout).outcomes.committed.values() if one.scores)
    unclear.launch()
    (look,) = read_looks(unclear.layout)
    assert set(look.trial_ids) == began
    assert len(unclear.began) == len(set(unclear.began)) == len(unclear.design.everything)


def test_the_first_decision_counts_for_who_looks_later(unclear: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def come_second(layout: StoreLayout, look: Look) -> Look:
        record_look(layout, look.model_copy(update={"decision": "end"}))
        return record_look(layout, look)

    with monkeypatch.context() as patched:
        patched.setattr("orchestrator.launch.sealing.record_look", come_second)
        unclear.launch()
    (look,) = read_looks(unclear.layout)
    assert look.decision == "end"
    assert set(unclear.began) == set(look.trial_ids)


def test_a_look_goes_on_without_a_trial_that_failed_before_it_had_a_folder(unclear: Place) -> None:
    lost = next(trial for trial in unclear.design.trials if trial.trial_id in unclear.due)
    write_attempt(unclear.layout, lost, number=1)
    unclear.unfit = lost.trial_id
    unclear.launch()
    (look,) = read_looks(unclear.layout)
    assert (look.n_cells, look.n_complete) == (6, 5)


def test_a_look_waits_for_a_trial_that_was_damaged_meanwhile(unclear: Place) -> None:
    unclear.launch()
    path = unclear.layout.look(1)
    (look,) = read_looks(unclear.layout)
    path.unlink()
    unclear.layout.outcome(look.trial_ids[0]).write_text("{}")
    write_attempt(unclear.layout, unclear.design.by_id[look.trial_ids[0]], number=1)
    (phase, _) = planned_phases(unclear.study, unclear.design)
    told: list[str] = []
    assert not goes_on_after(phase, unclear.study, unclear.design, unclear.layout, tell=told.append)
    assert told == ["look 1 waits for 1 trials; what comes after it waits for the look"]
    assert not path.exists()


def test_orders_of_spared_trials_do_not_stay(clear: Place) -> None:
    clear.launch()
    assert not [*clear.layout.orders.glob("*.json")]


def test_controls_run_before_the_first_look(unclear: Place) -> None:
    unclear.launch()
    (look,) = read_looks(unclear.layout)
    assert set(unclear.began[: len(look.trial_ids)]) == set(look.trial_ids)
    assert {trial.trial_id for trial in unclear.design.controls} <= set(look.trial_ids)


def test_nothing_runs_beyond_a_look_that_waits(unclear: Place) -> None:
    with pytest.raises(KilledError):
        unclear.launch(kill_after=3)
    assert read_looks(unclear.layout) == ()
    assert len(unclear.began) == 3


def test_a_damaged_look_is_refused(unclear: Place) -> None:
    unclear.launch()
    place = unclear.layout.look(1)
    place.write_text(place.read_text().replace('"decision": "go_on"', '"decision": "end"'))
    with pytest.raises(StoreError, match="restore it from a copy"):
        read_store(unclear.layout)


def test_looks_that_are_declared_after_the_first_trial_are_refused(unclear: Place) -> None:
    with pytest.raises(KilledError):
        unclear.launch(kill_after=1)
    unclear.path.write_text(unclear.path.read_text().replace("looks: [0.5]", "looks: [0.5, 0.75]"))
    with pytest.raises(InputError, match="a look that is declared later errs too often"):
        unclear.launch()


@pytest.mark.parametrize(
    ("looks", "message"), [("[0.01]", "1 of 12 cells are too few"), ("[0.1, 0.5]", "2 of 12 cells are too few")]
)
def test_looks_at_too_few_seeds_for_the_headline_are_refused(tmp_path: Path, looks: str, message: str) -> None:
    place = place_at(tmp_path, looks=looks, signal=usual_signal)
    with pytest.raises(InputError, match=message):
        planned_phases(place.study, place.design)


def test_a_spared_trial_says_why_it_was_not_run(clear: Place) -> None:
    clear.launch()
    held = read_store(clear.layout)
    known = Known(clear.design, held.outcomes, held.attempts, named="micro")
    spared = [one for one in known.items.values() if one.state == "spared"]
    assert {one.reason for one in spared} == {"the study ended at look 1"}


def test_scores_stay_closed_while_a_study_goes_on(unclear: Place) -> None:
    with pytest.raises(KilledError):
        unclear.launch(kill_after=20)
    (look,) = read_looks(unclear.layout)
    assert look.decision == "go_on"
    assert unclear.layout.is_blinded
    held = read_store(unclear.layout)
    assert all(one.is_withheld for one in held.outcomes.committed.values())
    findings = find_out(unclear.study, unclear.design, unclear.layout, held)
    assert findings.looks == ()
    told = unclear.said.getvalue() + findings.model_dump_json()
    aucs = {
        Outcome.load(path).scores["held_out"].metrics[Scoring.STRICT].roc_auc
        for path in unclear.layout.trials.glob("*/outcome.json")
    }
    assert not any(f"{auc:.4f}" in told for auc in aucs if auc)
