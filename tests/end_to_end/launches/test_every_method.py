"""Every kind of trial on an invented cohort, by a real worker: few-shot, objectives, targets, budgets, controls."""

import json
from collections.abc import Iterator

import pandas as pd
import pytest

from orchestrator.analysis.findings import Findings, analyse
from orchestrator.analysis.results import load_results
from orchestrator.design.grid import Design, expand
from orchestrator.store.dataset.aggregate import aggregate
from orchestrator.store.dataset.query import query
from orchestrator.store.outcomes import read_attempts, read_outcomes
from orchestrator.study.study import Study, load_study
from support.stores.estimates import known
from workers.attempt.runner import Runner
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import Method, Trial, WorkOrder

pytestmark = pytest.mark.end_to_end

STUDY = """\
study: every-method
question: Does every kind of trial run?
cohort: {source: synthetic_adrd, n_participants: 1500, seed: 5}
prompt: {template: history, max_words: 30}
teacher: {grammar: varied, max_words: 16}
bases: {micro: {kind: builtin, recipe: clinical_micro}}
axes:
  supervision: [label_only, free_form]
  base: [micro]
  train_size: [32]
  learning_rate: [3e-3]
  seed: [1]
  objective: [token_mean, span_balanced@0.9, two_view_mix, two_view_align@0.5, multi_task@0.5]
  lora_rank: [4]
more_axes:
  - {supervision: [free_form], base: [micro], train_size: [32], learning_rate: [3e-3], seed: [1],
     ordering: [label_first], rationale: [shuffled, filler, truncated@4]}
  - {supervision: [free_form], base: [micro], train_size: [32], learning_rate: [3e-3], seed: [1],
     label_access: [conditioned, filtered]}
  - {supervision: [label_only, free_form], base: [micro], train_size: [32], learning_rate: [3e-3], seed: [1],
     budget: [target_tokens@600]}
few_shot: {base: [micro], shots: [2], shows: [none, label, rationale], inference: [direct, reason], order_seed: [1, 2],
           selection: [fixed, nearest]}
training: {steps: 4, batch_size: 8, diagnostics: {gradient_share_every: 2, n_probe: 4}}
evaluation: {controls_per_case: 1, max_new_tokens: 40, direct: true, reasoned_tokens: 6, marginal_samples: 2}
controls: [zero_shot, permuted_labels, planted_signal, head, prevalence, age_sex, logistic, boosting]
contrasts:
  rationale_vs_label:
    treatment: [free_form]
    reference: label_only
    where:
      {objective: [token_mean], ordering: [rationale_first], rationale: [real], label_access: [blind], budget: [steps]}
  shown_rationale_vs_label: {axis: shows, treatment: [rationale], reference: label}
  omega_vs_token_mean: {axis: objective, treatment: [span_balanced@0.9], reference: token_mean}
interactions:
  sign_reversal: {of: shown_rationale_vs_label, minus: rationale_vs_label}
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    path = tmp_path_factory.mktemp("study") / "every.yaml"
    path.write_text(STUDY)
    return load_study(path)


@pytest.fixture(scope="module")
def design(study: Study) -> Design:
    return expand(study)


@pytest.fixture(scope="module")
def layout(design: Design, tmp_path_factory: pytest.TempPathFactory) -> StoreLayout:
    """A store in which every trial of the design was run, one after the other in one warm worker."""
    store = tmp_path_factory.mktemp("store")
    runner = Runner(n_threads=1)
    for trial in design.everything:
        for _ in runner.run(WorkOrder(trial=trial, store=str(store), sources={})):
            pass
    return StoreLayout(store)


@pytest.fixture(scope="module")
def findings(study: Study, design: Design, layout: StoreLayout) -> Findings:
    results = load_results(layout, design, outcomes=read_outcomes(layout).committed, attempts=read_attempts(layout))
    return analyse(study, design, results, n_replicates=50)


def outcome_of(layout: StoreLayout, trial: Trial) -> Outcome:
    return Outcome.load(layout.outcome(trial.trial_id))


def history_of(layout: StoreLayout, trial: Trial) -> pd.DataFrame:
    outcome = outcome_of(layout, trial)
    return pd.read_parquet(layout.trial(trial.trial_id) / outcome.attempt / "history.parquet")


def trained(design: Design, **place: str) -> Iterator[Trial]:
    usual = {"objective": "token_mean", "ordering": "rationale_first", "rationale": "real"}
    usual |= {"label_access": "blind", "budget": "steps"}
    for trial in design.trials:
        wanted = {**usual, **place} if trial.coordinates.get("supervision") == "free_form" else place
        if trial.spec.method is Method.LORA and wanted.items() <= trial.coordinates.items():
            yield trial


def test_every_trial_has_an_outcome_and_none_failed(design: Design, layout: StoreLayout) -> None:
    assert {trial.trial_id for trial in design.everything} == set(read_outcomes(layout).committed)
    assert read_attempts(layout) == {}


def test_every_generating_trial_is_scored_in_each_way(design: Design, layout: StoreLayout) -> None:
    (trial,) = trained(design, supervision="free_form")
    metrics = outcome_of(layout, trial).scores["held_out"].metrics
    assert set(metrics) == {Scoring.STRICT, Scoring.FORCED, Scoring.DIRECT, Scoring.REASONED, Scoring.MARGINAL}


def test_two_views_teach_twice_the_labels(design: Design, layout: StoreLayout) -> None:
    (plain,) = trained(design, supervision="free_form")
    (mixed,) = trained(design, supervision="free_form", objective="two_view_mix")
    assert outcome_of(layout, mixed).cost.n_label_tokens == 2 * outcome_of(layout, plain).cost.n_label_tokens


def test_a_token_budget_gives_labels_more_steps(design: Design, layout: StoreLayout) -> None:
    (labels,) = trained(design, supervision="label_only", budget="target_tokens@600")
    (rationales,) = trained(design, supervision="free_form", budget="target_tokens@600")
    assert outcome_of(layout, labels).cost.n_steps > outcome_of(layout, rationales).cost.n_steps
    for trial in (labels, rationales):
        assert 600 <= outcome_of(layout, trial).cost.n_target_tokens <= 900


def test_a_filtered_teacher_leaves_examples_out_and_says_how_many(design: Design, layout: StoreLayout) -> None:
    (blind,) = trained(design, supervision="free_form")
    (filtered,) = trained(design, supervision="free_form", label_access="filtered")
    assert outcome_of(layout, blind).cost.n_examples_dropped == 0
    assert outcome_of(layout, filtered).cost.n_examples_dropped > 0


def test_the_label_is_all_of_the_loss_nowhere_and_little_of_it_under_rationales(
    design: Design, layout: StoreLayout
) -> None:
    (labels,) = trained(design, supervision="label_only", budget="steps")
    (rationales,) = trained(design, supervision="free_form")
    shares = {trial.coordinates["supervision"]: history_of(layout, trial) for trial in (labels, rationales)}
    assert shares["free_form"]["label_loss_share"].mean() < shares["label_only"]["label_loss_share"].mean() < 1
    assert shares["free_form"]["label_gradient_share"].notna().sum() == 2


def test_the_dataset_holds_every_trial_and_every_probe(design: Design, layout: StoreLayout) -> None:
    assert aggregate(layout, design) == {}
    assert query(layout, "select count(*) from trials").rows[0][0] == len(design.everything)
    answer = query(layout, "select count(distinct trial_id) from diagnostics")
    assert answer.rows[0][0] >= len(list(trained(design, supervision="free_form")))


def test_adapters_and_controls_have_the_rank_that_the_dataset_tells(design: Design, layout: StoreLayout) -> None:
    aggregate(layout, design)
    told = dict(query(layout, "select trial_id, lora_rank from trials where lora_rank is not null").rows)
    kept = {
        trial.trial_id: json.loads((folder / "adapter" / "adapter_config.json").read_text())["r"]
        for trial in design.everything
        if trial.spec.training
        for folder in [layout.trial(trial.trial_id) / outcome_of(layout, trial).attempt]
    }
    assert told == kept
    assert {told[trial.trial_id] for trial in design.controls if trial.trial_id in told} == {4} != set(told.values())


def test_the_sign_reversal_is_the_difference_of_its_two_contrasts(findings: Findings) -> None:
    shown, taught = (
        next(contrast for contrast in findings.contrasts if contrast.name == name)
        for name in ("shown_rationale_vs_label", "rationale_vs_label")
    )
    (reversal,) = findings.interactions
    assert known(reversal).value == pytest.approx(known(shown).value - known(taught).value)


def test_no_difference_is_not_said_without_learning(findings: Findings) -> None:
    assert [place.standing for place in findings.learning] != ["learnt"] * len(findings.learning)
    assert not findings.verdict.none_allowed
    assert "of 1 places of base and train size, 0 learnt" in findings.verdict.none_reasons[0]


def test_a_second_run_of_any_trial_does_nothing(design: Design, layout: StoreLayout) -> None:
    outcomes = {path: path.stat().st_mtime_ns for path in layout.trials.glob("*/outcome.json")}
    for trial in design.trials[:3]:
        for _ in Runner(n_threads=1).run(WorkOrder(trial=trial, store=str(layout.root), sources={})):
            pass
    assert {path: path.stat().st_mtime_ns for path in layout.trials.glob("*/outcome.json")} == outcomes
