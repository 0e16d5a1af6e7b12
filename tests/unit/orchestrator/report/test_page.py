"""The page: what it says comes from the findings, and it needs nothing but itself."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from orchestrator.analysis.findings import Findings, analyse
from orchestrator.analysis.resampling.bootstrap import Estimate
from orchestrator.analysis.results import Results, load_results
from orchestrator.analysis.tables.best_rate import BestRate, ChosenRates
from orchestrator.analysis.tables.ledger import ForecastScore
from orchestrator.analysis.tables.noise import AboveNoise, NoiseFloor
from orchestrator.analysis.uncertainty.layers import THESE_MODELS
from orchestrator.audit.measures import AuditNote
from orchestrator.design.grid import Design, expand
from orchestrator.report.figures.scores import auc_figure
from orchestrator.report.page import render_report, write_report
from orchestrator.report.tables import LONGEST_TABLE
from orchestrator.store.outcomes import read_attempts, read_outcomes
from orchestrator.study.study import Contrast, Study, load_study
from support.places import REPOSITORY, SWEEPS
from support.stores.builders import build_store, cohort_counts, usual_signal
from workers.contract.data_class import RULES, DataClass
from workers.contract.inputs import ProofFigures
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import Trial

QUICKSTART = SWEEPS / "quickstart.yaml"
NARROWED = Contrast(
    treatment=("free_form",),
    reference="label_only",
    where={"ordering": ("rationale_first",), "rationale": ("real",), "label_access": ("blind",)},
)
VOID = {"meta", "br", "link", "img", "hr", "input"}


class Outline(HTMLParser):
    """Tags that never close, headers without a scope, tables without a caption, resources from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.unmatched: list[str] = []
        self.unscoped = 0
        self.n_tables = 0
        self.n_captions = 0
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.unscoped += tag == "th" and "scope" not in values
        self.n_tables += tag == "table"
        self.n_captions += tag == "caption"
        links = [values.get(name) for name in ("src", "href", "xlink:href")]
        self.outside += [link for link in links if link and not link.startswith(("#", "data:text/csv;base64,"))]
        if tag == "link":
            self.outside.append(tag)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.stack or self.stack.pop() != tag:
            self.unmatched.append(tag)


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(QUICKSTART)


@pytest.fixture(scope="module")
def design(study: Study) -> Design:
    return expand(study)


@pytest.fixture(scope="module")
def findings(study: Study, design: Design, tmp_path_factory: pytest.TempPathFactory) -> Findings:
    layout = build_store(
        tmp_path_factory.mktemp("stores"),
        study,
        design,
        failed={design.trials[1].trial_id},
        diverged={design.trials[5].trial_id},
        damaged={design.trials[8].trial_id},
    )
    results = load_results(layout, design, outcomes=read_outcomes(layout).committed, attempts=read_attempts(layout))
    return analyse(study, design, results, n_replicates=100)


@pytest.fixture(scope="module")
def page(study: Study, design: Design, findings: Findings) -> str:
    return render_report(study, design, findings, cohort_counts=cohort_counts(lost=3))


def test_page_needs_no_other_file(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    assert outline.outside == []
    assert "@import" not in page and "url(http" not in page


def test_page_is_well_formed_and_its_tables_are_accessible(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    assert (outline.unmatched, outline.stack) == ([], [])
    assert outline.unscoped == 0
    assert page.count('class="scroll') == page.count('class="scroll" tabindex="0"') + page.count(
        'class="scroll tall" tabindex="0"'
    )
    assert outline.n_tables == outline.n_captions > 8


def test_page_states_question_answer_and_every_trial(page: str, findings: Findings) -> None:
    assert findings.question in page
    assert findings.answer in page
    assert all(row.trial_id in page for row in findings.trials)
    assert "For research only" in page


def test_the_verdict_stands_first_in_few_words_with_chips_that_lead_on(page: str) -> None:
    head = page[page.index('<section class="answer') : page.index("</header>")]
    assert "<svg" in head and head.index('class="words"') < head.index('class="chips"') < head.index('class="told"')
    assert "✗ 16 of 19 trials scored" in head and "105 test events" not in head and "test events" in head
    assert "plan not sealed" in head and "public cohort" in head
    assert all(f'id="{place}"' in page for place in re.findall(r'href="#([^"]+)"', head))


@pytest.mark.parametrize(
    ("results", "chip"),
    [
        ([True, True, None], ">2 of 3 checks passed, 1 not judged"),
        ([True, False, None], "✗ 1 of 3 checks passed, 1 not judged"),
        ([True, True, False], "✗ 2 of 3 checks passed"),
        ([True, True, True], "✓ 3 of 3 checks passed"),
    ],
)
def test_a_check_that_was_not_judged_is_no_failed_one(
    study: Study, design: Design, findings: Findings, results: list[bool | None], chip: str
) -> None:
    checks = tuple(findings.checks[0].model_copy(update={"passed": result}) for result in results)
    told = render_report(study, design, findings.model_copy(update={"checks": checks}))
    assert chip in told[told.index('class="chips"') : told.index("</header>")]


def test_each_figure_has_its_numbers_and_a_caption(page: str) -> None:
    n_figures = page.count('<figure tabindex="0" aria-labelledby')
    assert n_figures == page.count('class="numbers"') == page.count("<figcaption") >= 5


def test_page_says_how_to_do_it_again(page: str, findings: Findings) -> None:
    assert findings.provenance is not None
    assert f"git checkout {findings.provenance.commits[0]}" in page and "make run STUDY=STUDY" in page


def test_page_holds_the_forecast_of_each_launch_against_what_came(
    study: Study, design: Design, findings: Findings
) -> None:
    scored = ForecastScore(launch=2, n_known=15, n_trials=16, p10_s=1380, p50_s=1500, p90_s=1680, took_s=1620)
    page = render_report(study, design, findings.model_copy(update={"forecasts": (scored,)}))
    told = "27.0 min; forecast 25.0 min (23.0 min to 28.0 min in 8 of 10 cases) for 15 of its 16 trials"
    assert f"from the first trial to the last, launch 2</span><code>{told}</code>" in page


def test_page_lists_failures_and_incomplete_cells(page: str) -> None:
    assert "out_of_memory" in page and "training.py:train" in page
    assert "free_form failed" in page and "step_by_step diverged" in page


def test_page_says_how_many_results_are_damaged_and_what_to_do(page: str, design: Design) -> None:
    assert "predictions are damaged: 1;" in page
    assert f"delete trials/{design.trials[8].trial_id}/outcome.json and run again" in page
    assert "step_by_step damaged" in page


def test_flow_reads_from_the_candidates_to_the_splits(page: str) -> None:
    steps = ["Candidate index dates", "excluded: lost before", "Eligible: one example each", ">train<", ">held-out<"]
    places = [page.index(step, page.index('id="participants"')) for step in steps]
    assert places == sorted(places)
    assert "n candidates" not in page and "n_candidates" not in page


def test_count_in_the_facts_above_is_not_withheld_below(study: Study, design: Design, findings: Findings) -> None:
    """Withholding the test events in the table would protect nothing: they stand at the top of the page."""
    page = render_report(study, design, findings, cohort_counts=cohort_counts(tuning_events=3))
    row = re.search(r">held-out</th><td[^>]*>[^<]*</td><td[^>]*>[^<]*</td><td[^>]*>([^<]*)</td>", page)
    assert row is not None and row.group(1) == "105"


def test_page_hides_small_counts_and_names_no_participant(page: str) -> None:
    assert re.search(r"lost before the horizon</th><td[^>]*>≤5</td>", page)
    assert re.search(r"cardiovascular disease before the index</th><td[^>]*>hidden</td>", page)
    assert "participant-0" not in page and "example-0" not in page


def test_page_names_no_path_of_the_machine(page: str) -> None:
    assert str(REPOSITORY) not in page


def test_text_is_escaped_and_what_it_quotes_in_backticks_is_code(
    page: str, study: Study, design: Design, findings: Findings
) -> None:
    question = "<script>alert(1)</script> with `blind: <b>`; ` alone is none\u202e"
    hostile = render_report(study, design, findings.model_copy(update={"question": question}))
    assert "<script>alert" not in hostile
    assert "with <code>blind: &lt;b&gt;</code>; ` alone is none\\u202e" in hostile and "\u202e" not in hostile
    assert "<code>Answer:</code>" in page and "`" not in page[: page.index("<script>")]


def test_same_findings_give_the_same_page(study: Study, design: Design, findings: Findings) -> None:
    assert render_report(study, design, findings) == render_report(study, design, findings)


def test_result_against_the_paper_is_reported_as_it_is(study: Study, design: Design, tmp_path: Path) -> None:
    def helps(trial: Trial) -> float:
        return usual_signal(trial) + (2.5 if trial.role == "grid" and trial.spec.teacher else 0.0)

    layout = build_store(tmp_path, study, design, signal=helps, invalid_rate=lambda _: 0.0)
    results = load_results(layout, design, outcomes=read_outcomes(layout).committed, attempts={})
    page = render_report(study, design, analyse(study, design, results, n_replicates=50))
    assert "ranked participants better than" in page
    assert "participants worse than" not in page


def test_page_without_any_score_says_so(study: Study, design: Design, tmp_path: Path) -> None:
    findings = analyse(study, design, Results(outcomes={}, predictions={}, attempts={}))
    page = write_report(study, design, findings, path=tmp_path / "report.html").read_text()
    assert "No verdict" in page
    assert auc_figure(findings) is None
    assert "<svg" not in page


@pytest.fixture(scope="module")
def many_axes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Design, Findings]:
    """Few-shot and trained trials beside each other, all scored in further ways, some with probe measurements."""
    study = load_study(SWEEPS / "fewshot.yaml")
    design = expand(study)
    mechanism = expand(load_study(SWEEPS / "mechanism.yaml"))
    further = {scoring: lambda trial: 0.7 * usual_signal(trial) for scoring in (Scoring.DIRECT, Scoring.REASONED)}
    design = Design(trials=design.trials + mechanism.trials[:4], controls=design.controls)
    contrasts = {**study.contrasts, "trained_rationale_vs_label": NARROWED}
    study = study.model_copy(update={"contrasts": contrasts})
    layout = build_store(tmp_path_factory.mktemp("many"), study, design, n_participants=150, further=further)
    results = load_results(layout, design, outcomes=read_outcomes(layout).committed, attempts={})
    return study, design, analyse(study, design, results, n_replicates=50)


def test_page_of_many_axes_and_scorings_is_well_formed_and_complete(many_axes: tuple[Study, Design, Findings]) -> None:
    page = render_report(*many_axes, audit=AuditNote(statement="Rationale audit: awaiting raters."))
    outline = Outline()
    outline.feed(page)
    assert (outline.unmatched, outline.stack, outline.unscoped) == ([], [], 0)
    assert outline.n_tables == outline.n_captions
    for title in (
        *("Direct AUC", "Training target × inference protocol", "Difference in differences", "Saturation"),
        *("What may be claimed together", "confirmatory: ", "Single cells", "no interval"),
        *("Interactions", "sign_reversal", "Few-shot demonstrations", "By base", "Share of the label token"),
        *("Gradient cosines", "−0.20 / +0.40", "no medical conclusion follows", "awaiting raters"),
    ):
        assert title in page


def test_best_rates_and_the_noise_floor_stand_where_they_were_asked_for(
    study: Study, design: Design, findings: Findings, page: str
) -> None:
    chosen = (ChosenRates(arm="free_form", n_by_rate={0.001: 3}), ChosenRates(arm="label_only", n_by_rate={}))
    rates = BestRate(name="a", n_places=4, n_compared=3, n_ties=1, n_unscored=2, chosen=chosen, layer=THESE_MODELS)
    few = Estimate(value=0.0123, low=None, high=None)
    seen = AboveNoise(name="a", n_cells=4, one_cell=0.0487, pooled=0.0244)
    noise = NoiseFloor(n_planned=4, n_pairs=3, deviation=few, detectable=(seen,))
    told = render_report(study, design, findings.model_copy(update={"best_rates": (rates,), "noise_floor": noise}))
    outline = Outline()
    outline.feed(told)
    assert (outline.unmatched, outline.stack, outline.unscoped) == ([], [], 0)
    assert "free_form: 0.001 × 3<br>label_only: –" in told and "3 of 4" in told
    assert "3 are scored both times" in told and "so few give no interval" in told
    assert all(number in told for number in ("0.012", "0.049", "0.024"))
    assert "best learning rate" not in page and "Noise floor" not in page


def test_sections_that_a_study_has_nothing_for_are_left_out(page: str) -> None:
    for title in ("Direct AUC", "protocol", "Interactions", "Few-shot", "By base", "cosines", "audit"):
        assert title not in page


@pytest.mark.parametrize("data_class", DataClass)
def test_the_page_says_whose_records_they_are_and_what_may_be_done_with_them(
    study: Study, design: Design, findings: Findings, data_class: DataClass
) -> None:
    cohort = study.cohort.model_copy(update={"data_class": data_class})
    page = render_report(study.model_copy(update={"cohort": cohort}), design, findings)
    assert f"<b>{data_class.value.capitalize()} cohort:</b> {data_class.rules.use}" in page
    assert [rules.use in page for rules in RULES.values()].count(True) == 1


def test_long_tables_are_summed_up_and_point_to_the_rest(
    study: Study, design: Design, many_axes: tuple[Study, Design, Findings], findings: Findings
) -> None:
    contrast = many_axes[2].contrasts[1]
    cells = tuple(cell.model_copy(update={"cell_id": f"{i:016x}"}) for i in range(8) for cell in contrast.cells)
    long = contrast.model_copy(update={"cells": cells})
    trials = tuple(
        row.model_copy(update={"trial_id": f"{i}-{row.trial_id}"}) for i in range(6) for row in findings.trials
    )
    page = render_report(study, design, findings.model_copy(update={"contrasts": (long,), "trials": trials}))
    assert len(cells) > LONGEST_TABLE and len(trials) > LONGEST_TABLE
    assert f"All {len(cells)} cells" in page and "all bases" in page and "qwen-s-reasoning" in page
    assert all(page.count(f"<code>{row.trial_id}</code>") == 1 for row in trials)
    assert not any(f"<code>{cell.cell_id}</code>" in page for cell in cells)


def test_report_replaces_the_old_one_and_leaves_no_scrap(
    study: Study, design: Design, findings: Findings, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write_report(study, design, findings, path=path) == path
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_the_page_says_how_each_base_proved_its_rows(study: Study, design: Design, findings: Findings) -> None:
    proof = ProofFigures(together="padded", largest=3e-7, flipped=1)
    page = render_report(study, design, findings, proofs={"tiny-llama": proof})
    assert "any rows, read by a plain pass, at most 3e-07 off the probability of a row alone" in page
    assert "1 of the written texts differ" in page
    assert "Proved before" not in render_report(study, design, findings)


def test_the_whole_train_split_and_all_train_sizes_have_a_word_each(findings: Findings, page: str) -> None:
    assert {score.train_size for score in findings.supervisions} == {"all sizes", 128, 640}
    assert '<th scope="row">age_sex</th><td class="keep">–</td><td class="n">whole</td>' in page
    assert '<tr class="total"><th scope="row">label_only</th>' in page
