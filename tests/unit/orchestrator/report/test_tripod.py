"""The guideline's checklist: every item is there, what the study knows is filled, and the rest says what is missing."""

import json
from dataclasses import replace
from string import ascii_lowercase

import numpy as np
import pytest

from orchestrator.analysis.findings import Findings, analyse
from orchestrator.analysis.results import Results, load_results
from orchestrator.audit.measures import AuditMeasure, AuditNote
from orchestrator.design.grid import Design, expand
from orchestrator.launch.reporting import write_study_report
from orchestrator.report.page import flow_of
from orchestrator.report.tripod import BY_HAND, CLOSED, Basis, Checklist, ReportedItem, checklist
from orchestrator.store.outcomes import read_store
from orchestrator.study.cohort import CohortFile
from orchestrator.study.study import Study, load_study
from support.places import SWEEPS
from support.stores.builders import build_store, cohort_counts
from workers.contract.layout import StoreLayout

# The protocol's table, section 3.13, spelled out.
AUTO = {"2e", "5a", "5b", "5d", "5e", "6a", "6b", "6c", "6d", "6e", "7c", "9a", "9b", "12", "16a", "16d", "17"}
PARTIAL = {"5c", "16c", "6g", "7a", "7b", "8a", "8b", "8c", "14e", "14f", "16b"}
MANUAL = {"13", "14a", "14b", "14c", "14d", "15", *(f"19{letter}" for letter in ascii_lowercase[:7])}
AUDITED = AuditNote(
    statement="Rationale audit by experts: 2 raters.", measures=(AuditMeasure(name="kappa", value=0.7, detail="two"),)
)


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(SWEEPS / "quickstart.yaml")


@pytest.fixture(scope="module")
def design(study: Study) -> Design:
    return expand(study)


@pytest.fixture(scope="module")
def store(study: Study, design: Design, tmp_path_factory: pytest.TempPathFactory) -> StoreLayout:
    return build_store(tmp_path_factory.mktemp("stores"), study, design)


@pytest.fixture(scope="module")
def results(design: Design, store: StoreLayout) -> Results:
    held = read_store(store)
    return load_results(store, design, outcomes=held.outcomes.committed, attempts=held.attempts)


@pytest.fixture(scope="module")
def known(study: Study, design: Design, results: Results) -> Basis:
    findings = analyse(study, design, results, n_replicates=20)
    flow = flow_of(cohort_counts(), findings, min_cell=study.cohort.min_cell)
    return Basis(study=study, design=design, findings=findings, flow=flow, audit=AUDITED)


def items(known: Basis) -> dict[str, ReportedItem]:
    return {item.item: item for item in checklist(known).items}


def test_every_item_of_the_table_is_there_with_its_status(known: Basis) -> None:
    statuses = {name: item.status for name, item in items(known).items()}
    expected = {**dict.fromkeys(AUTO, "auto"), **dict.fromkeys(PARTIAL, "partial"), **dict.fromkeys(MANUAL, "manual")}
    assert statuses == expected


def test_of_a_complete_study_auto_items_are_filled_and_the_others_say_what_is_missing(known: Basis) -> None:
    for name, item in items(known).items():
        assert (item.missing is None) == (name in AUTO), name
        assert (item.content is None) == (name in MANUAL), name
    assert items(known)["13"].missing == BY_HAND


def test_what_is_told_is_what_the_findings_and_the_design_say(known: Basis) -> None:
    found = items(known)
    performance = found["17"].content
    assert performance is not None and performance["answer"] == known.findings.answer
    assert performance["supervisions"] == json.loads(known.findings.model_dump_json())["supervisions"]
    assert str(found["6a"].content).count("tiny") and str(found["6c"].content).count("evaluation.max_new_tokens")
    assert str(found["7c"].content).count("logistic") and str(found["16a"].content).count("Candidate index dates")


def test_dates_are_said_to_be_none_where_a_source_counts_days(known: Basis, study: Study) -> None:
    said = {"source": "meds", "folder": "meds", "sha256": "0" * 64, "labels": "labels", "question": "Who falls ill?"}
    dated = CohortFile.model_validate({"cohort": said}).cohort
    for cohort, times, brings_splits in ((study.cohort, "no calendar date", False), (dated, "dates", True)):
        found = items(replace(known, study=study.model_copy(update={"cohort": cohort})))
        assert times in str(found["5c"].content) and found["5c"].missing == "years of the oldest and the newest record"
        assert ("subject_splits" in str(found["16c"].content)) is brings_splits and found["16c"].missing


def test_small_counts_are_hidden_as_on_the_page(known: Basis, study: Study) -> None:
    counts = cohort_counts(lost=3)
    flow = flow_of(counts, known.findings, min_cell=study.cohort.min_cell)
    content = items(replace(known, flow=flow))["16a"].content
    assert content is not None and content["lost before the horizon"] == f"≤{study.cohort.min_cell}"


def test_without_raters_or_outcomes_the_items_are_missing_and_not_made_up(study: Study, design: Design) -> None:
    empty = Results(outcomes={}, predictions={}, attempts={})
    findings = analyse(study, design, empty, n_replicates=20)
    flow = flow_of({}, findings, min_cell=5)
    found = items(Basis(study=study, design=design, findings=findings, flow=flow, audit=None))
    for name in ("8c", "12", "16a", "16d", "17"):
        assert found[name].content is None and found[name].missing


def test_while_scores_are_closed_none_is_told(study: Study, design: Design, known: Basis, results: Results) -> None:
    outcomes = {
        one: outcome.model_copy(update={"scores": {"tuning": outcome.scores["tuning"]}})
        for one, outcome in results.outcomes.items()
    }
    tuning = {one: table.at(np.flatnonzero(table.split == "tuning")) for one, table in results.predictions.items()}
    findings = analyse(study, design, replace(results, outcomes=outcomes, predictions=tuning), n_replicates=20)
    found = items(replace(known, findings=findings))
    for name in ("7c", "16d", "17"):
        assert found[name].content is None and found[name].missing == CLOSED
    assert found["6a"].content and found["12"].content


def test_a_report_writes_it_sealed_beside_the_page(study: Study, design: Design, store: StoreLayout) -> None:
    write_study_report(study, design, store, read_store(store))
    written = Checklist.model_validate_json(store.tripod.read_bytes())
    assert store.tripod == store.report.with_name("tripod_llm.json") and written.checksum
    assert "tripod_llm.json" in store.report.read_text()
    assert {item.item for item in written.items} == AUTO | PARTIAL | MANUAL


def test_findings_of_before_fill_what_they_hold(known: Basis) -> None:
    older = Findings.model_validate(known.findings.model_dump(mode="json", exclude={"subgroups", "operating"}))
    content = items(replace(known, findings=older))["17"].content
    assert content is not None and "subgroups" not in content and content["contrasts"]
