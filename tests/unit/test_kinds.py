"""Each kind of thing has one table: a walk says what a member lacks, and one that is made up here works through."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.analysis.findings import Findings, analyse
from orchestrator.analysis.results import load_results
from orchestrator.design.grid import Design
from orchestrator.report.page import render_report
from orchestrator.store.dataset import aggregate
from orchestrator.store.dataset_columns import table_schemas
from orchestrator.store.outcomes import read_outcomes
from orchestrator.study.study import Study
from support.stores.builders import build_store, usual_signal
from support.stores.estimates import known
from support.studies.orders import comparator_spec, order_of
from workers.attempt.runner import Runner
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.recipes.scorings import SCORINGS, Reading, Scoring
from workers.contract.trial import EvaluationRecipe, Method
from workers.scoring.scorer import READERS
from workers.work.bench import unheard


def what_scorings_lack() -> Iterator[str]:
    settings = EvaluationRecipe.model_fields
    for scoring, reading in SCORINGS.items():
        if not reading.words.startswith(scoring.capitalize()):
            yield f"{scoring} lacks words for the report that begin with its name"
        if not reading.asked_by:
            continue
        if reading.asked_by not in settings:
            yield f"{scoring} lacks the field {reading.asked_by} of EvaluationRecipe, by which a study asks for it"
        elif settings[reading.asked_by].default:
            yield f"{scoring} lacks a default that does not ask for it: ids of stored trials would mean another thing"
        if scoring not in READERS:
            yield f"{scoring} lacks a reader in workers.scoring.scorer.READERS"


class TestScorings:
    GUESSED = Scoring("guessed")

    def test_every_scoring_of_the_table_is_whole(self) -> None:
        assert list(what_scorings_lack()) == []
        assert READERS.keys() <= SCORINGS.keys()

    def test_what_a_new_scoring_lacks_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(SCORINGS, self.GUESSED, Reading("A guess.", asked_by="guessed"))
        assert list(what_scorings_lack()) == [
            "guessed lacks words for the report that begin with its name",
            "guessed lacks the field guessed of EvaluationRecipe, by which a study asks for it",
            "guessed lacks a reader in workers.scoring.scorer.READERS",
        ]

    @pytest.fixture
    def _guesses(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setitem(SCORINGS, self.GUESSED, Reading("Guessed: by length.", asked_by="guessed"))
        monkeypatch.setitem(READERS, self.GUESSED, lambda scorer, session, positions: 1 / (2.0 + pd.Series(positions)))
        table_schemas.cache_clear()
        yield
        table_schemas.cache_clear()

    @pytest.mark.usefixtures("_guesses")
    def test_a_made_up_one_is_read_scored_and_committed(self, store: Path) -> None:
        class Evaluation(EvaluationRecipe):
            guessed: bool = False

        asks = Evaluation(controls_per_case=1.0, max_new_tokens=8, guessed=True)
        trial = order_of(comparator_spec(Method.ZERO_SHOT, evaluation=asks), store)
        ended = unheard(Runner(n_threads=1).run(trial))
        assert (ended.state, ended.detail) == ("scored", "")
        layout = StoreLayout(store)
        outcome = Outcome.load(layout.outcome(trial.trial.trial_id))
        assert set(outcome.scores["held_out"].metrics) == {Scoring.STRICT, Scoring.FORCED, self.GUESSED}
        rows = pd.read_parquet(layout.trial(outcome.trial_id) / outcome.attempt / "predictions.parquet")
        assert rows["p_guessed"].max() == 0.5

    @pytest.mark.usefixtures("_guesses")
    def test_a_made_up_one_is_in_dataset_findings_and_page(self, study: Study, design: Design, tmp_path: Path) -> None:
        further = {self.GUESSED: usual_signal}
        layout = build_store(tmp_path / "guessed", study, design, n_participants=150, further=further)
        aggregate(layout, design)
        trials = pd.read_parquet(layout.dataset / "trials")
        assert trials["held_out_guessed_roc_auc"].notna().sum() == sum(bool(t.spec.base) for t in design.everything)
        assert "p_guessed" in pd.read_parquet(layout.dataset / "predictions")
        results = load_results(layout, design, outcomes=read_outcomes(layout).committed, attempts={})
        findings = analyse(study, design, results, n_replicates=20)
        assert known(findings.contrasts[0], self.GUESSED)
        assert Findings.model_validate_json(findings.model_dump_json()) == findings
        page = render_report(study, design, findings)
        assert "Guessed AUC" in page and "Guessed: by length." in page
