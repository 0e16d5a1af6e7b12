"""Each kind of thing has one table: a walk says what a member lacks, and one that is made up here works through."""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Literal, get_args, get_type_hints
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis.findings import Findings, analyse
from orchestrator.analysis.results import load_results
from orchestrator.design.comparators import CONTROLS
from orchestrator.design.grid import Design, expand
from orchestrator.report.page import render_report
from orchestrator.store.dataset.aggregate import aggregate
from orchestrator.store.dataset.columns import table_schemas
from orchestrator.store.outcomes import read_outcomes
from orchestrator.study.bases import StudyBase
from orchestrator.study.files import sources_of
from orchestrator.study.study import Control, Study, StudyFile, load_study
from support.stores.builders import build_store, usual_signal
from support.stores.estimates import known
from support.studies.micro_study import write_study
from support.studies.orders import COHORT, comparator_spec, micro_spec, order_of
from workers.attempt.methods import CARRIED_OUT_BY
from workers.attempt.runner import Runner
from workers.cohort.adrd.generate import generate_adrd
from workers.cohort.cohort import Cohort
from workers.cohort.features import Features
from workers.contract.answers.questions import QUESTIONS
from workers.contract.data_class import DataClass
from workers.contract.errors import InputError
from workers.contract.inputs import (
    BaseFigures,
    CohortFigures,
    Figures,
    PromptTokenFigures,
    ProofFigures,
    RationaleTokenFigures,
)
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.recipes.bases import BaseRecipe, BaseSettings
from workers.contract.recipes.cohorts import COHORT_SOURCES, CohortSource, Splitting, SyntheticCohort
from workers.contract.recipes.scorings import SCORINGS, Scoring, ScoringRule
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import METHODS, EvaluationRecipe, Method, Trial, TrialSpec, WorkOrder
from workers.scoring.classical.baselines import columns_of, fit_baseline
from workers.scoring.evaluating import score_classical
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
        monkeypatch.setitem(SCORINGS, self.GUESSED, ScoringRule("A guess.", asked_by="guessed"))
        assert list(what_scorings_lack()) == [
            "guessed lacks words for the report that begin with its name",
            "guessed lacks the field guessed of EvaluationRecipe, by which a study asks for it",
            "guessed lacks a reader in workers.scoring.scorer.READERS",
        ]

    @pytest.fixture
    def _guesses(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setitem(SCORINGS, self.GUESSED, ScoringRule("Guessed: by length.", asked_by="guessed"))
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


def what_sources_lack() -> Iterator[str]:
    for name, kind in COHORT_SOURCES.items():
        fields = kind.recipe.model_fields
        if "source" not in fields or get_args(fields["source"].annotation) != (name,):
            yield f"{name} lacks a recipe whose field `source` is that name"
        if (kind.place is not None) != ("sha256" in fields):
            yield f"{name} lacks either a place or a digest: what is read has both, what is generated neither"
        if absent := set(kind.parts) - fields.keys():
            yield f"{name} lacks fields for its parts {sorted(absent)}"
        module, _, function = kind.loader.partition(":")
        if find_spec(module) is None or not hasattr(import_module(module), function):
            yield f"{name} lacks its loader {kind.loader}"


class InventedCohort(Splitting):
    source: Literal["invented"]
    n_people: int = 700


def invent(recipe: InventedCohort) -> Cohort:
    return generate_adrd(SyntheticCohort(source="synthetic_adrd", n_participants=recipe.n_people))


class TestCohortSources:
    INVENTED = CohortSource(InventedCohort, f"{__name__}:invent", data_class=DataClass.SYNTHETIC)
    HOLD_A_COHORT = (TrialSpec, Trial, WorkOrder, Outcome, StudyFile, Study)

    def test_every_source_of_the_table_is_whole(self) -> None:
        assert list(what_sources_lack()) == []

    def test_what_a_new_source_lacks_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        bare = CohortSource(Splitting, "workers.cohort.invented:invent", place="file", parts=("labels",))
        monkeypatch.setitem(COHORT_SOURCES, "invented", bare)
        assert list(what_sources_lack()) == [
            "invented lacks a recipe whose field `source` is that name",
            "invented lacks either a place or a digest: what is read has both, what is generated neither",
            "invented lacks fields for its parts ['labels']",
            "invented lacks its loader workers.cohort.invented:invent",
        ]

    @pytest.fixture
    def _invents(self) -> Iterator[None]:
        """A source is there before what holds cohorts is defined; here that is defined once more."""
        with patch.dict(COHORT_SOURCES, {"invented": self.INVENTED}):
            for model in self.HOLD_A_COHORT:
                model.model_rebuild(force=True)
            yield
        for model in self.HOLD_A_COHORT:
            model.model_rebuild(force=True)

    @pytest.mark.usefixtures("_invents")
    def test_a_made_up_one_is_planned_prepared_and_scored(self, tmp_path: Path) -> None:
        path = write_study(tmp_path)
        text = re.sub(
            "cohort: .*", "cohort: {source: invented, n_people: 800}\nprompt: {template: history}", path.read_text()
        )
        path.write_text(text)
        study = load_study(path)
        assert (study.cohort.data_class, study.cohort.min_cell, study.cohort.place) == (DataClass.SYNTHETIC, 0, None)
        assert study.cohort.content() == {"source": "invented", "n_people": 800}
        layout = StoreLayout(tmp_path / "store")
        trial = expand(study).controls[0]
        order = WorkOrder(trial=trial, store=str(layout.root), sources=sources_of(study))
        ended = unheard(Runner(n_threads=1).run(WorkOrder.model_validate_json(order.model_dump_json())))
        assert (ended.state, ended.detail) == ("scored", "")
        assert Outcome.load(layout.outcome(trial.trial_id)).trial.spec.cohort == study.cohort.recipe

    def test_what_was_made_up_is_gone_again(self, tmp_path: Path) -> None:
        path = write_study(tmp_path)
        path.write_text(path.read_text().replace("source: framingham", "source: invented"))
        with pytest.raises(InputError, match="invented is not framingham or meds or omop or synthetic_adrd or table"):
            load_study(path)


def kinds_of(union: object) -> dict[str, type[BaseSettings]]:
    """The models of an annotated union, by the literal that tells them apart."""
    models = get_args(get_args(union)[0])
    return {kind: model for model in models for kind in get_args(model.model_fields["kind"].annotation)}


def what_base_kinds_lack(studied: Mapping[str, type[BaseSettings]]) -> Iterator[str]:
    for kind, recipe in kinds_of(BaseRecipe).items():
        if not issubclass(studied.get(kind, BaseSettings), recipe):
            yield f"{kind} lacks a member of orchestrator.study.bases.StudyBase that is its recipe"


def test_every_question_to_a_worker_has_a_command_of_its_own_and_somebody_who_answers() -> None:
    assert len({question.command for question in QUESTIONS}) == len(QUESTIONS)
    for question in QUESTIONS:
        hints = get_type_hints(resolve_name(question.answered_by))
        assert hints.pop("return") is question.answer
        assert list(hints.values()) == [question.asked]


def test_every_kind_of_base_can_stand_in_a_study_and_what_lacks_is_said() -> None:
    studied = kinds_of(StudyBase)
    assert list(what_base_kinds_lack(studied)) == []
    fewer = {kind: model for kind, model in studied.items() if kind != "hub"}
    assert list(what_base_kinds_lack(fewer)) == [
        "hub lacks a member of orchestrator.study.bases.StudyBase that is its recipe"
    ]


def what_methods_lack(carried_out_by: Mapping[Method, object]) -> Iterator[str]:
    makes_grids = {Method.LORA, Method.FEW_SHOT}
    table = Features.of_table(pd.DataFrame({"AGE": [40.0, 50.0, 60.0, 70.0]}))
    for method in Method:
        if method not in METHODS:
            yield f"{method} lacks a row in workers.contract.trial.METHODS"
            continue
        if method not in carried_out_by:
            yield f"{method} lacks a function in workers.attempt.methods.CARRIED_OUT_BY"
        if method not in makes_grids and Control(method.value) not in CONTROLS:
            yield f"{method} lacks a control by which a study asks for it"
        if carried_out_by.get(method) is score_classical:
            fit_baseline(method, table, np.array([0, 0, 1, 1]))


class TestMethods:
    def test_every_method_is_whole(self) -> None:
        assert list(what_methods_lack(CARRIED_OUT_BY)) == []

    def test_what_a_new_method_lacks_is_said(self) -> None:
        fewer = {method: doing for method, doing in METHODS.items() if method is not Method.HEAD}
        with patch.dict(METHODS, fewer, clear=True):
            said = list(what_methods_lack({method: None for method in Method if method is not Method.LOGISTIC}))
        assert said == [
            "head lacks a row in workers.contract.trial.METHODS",
            "logistic lacks a function in workers.attempt.methods.CARRIED_OUT_BY",
        ]

    def test_no_comparator_is_taken_for_whatever_is_left(self) -> None:
        table = Features.of_table(pd.DataFrame({"AGE": [40.0, 50.0]}))
        for fit in (
            lambda: fit_baseline(Method.HEAD, table, np.array([0, 1])),
            lambda: columns_of(Method.HEAD, COHORT, table),
        ):
            with pytest.raises(ValueError, match="head is no classical comparator"):
                fit()


class TestFigures:
    @pytest.mark.parametrize(
        ("kind", "stored"),
        [
            (CohortFigures, {"largest_balanced_size": 386, "excluded: lost before the horizon": 3}),
            (BaseFigures, {"context_tokens": 512, "longest_answer_tokens": 4}),
            (ProofFigures, {"together": "padded", "largest": 3e-7, "flipped": 0}),
            (PromptTokenFigures, {"longest prompt": 91, "longest_answer_tokens": 4}),
            (PromptTokenFigures, {"longest prompt": 91}),
            (RationaleTokenFigures, {"longest free_form": 40, "longest step_by_step": 52}),
        ],
    )
    def test_figures_are_read_from_a_manifest_and_written_as_it_holds_them(
        self, kind: type[Figures], stored: dict[str, int | float | str]
    ) -> None:
        found = kind.model_validate(stored)
        assert found.counts() == {name: value for name, value in stored.items() if not name.startswith("excluded")}

    def test_the_inputs_of_a_trial_hold_the_figures_of_their_kinds(self, prepared_store: Path) -> None:
        layout, spec = StoreLayout(prepared_store), micro_spec(Supervision.FREE_FORM)
        for kind in Figures.__subclasses__():
            assert kind.of(spec, layout) is not None
        rationales = RationaleTokenFigures.of(spec, layout)
        assert rationales is not None and rationales.longest.keys() == {Supervision.FREE_FORM, Supervision.STEP_BY_STEP}
