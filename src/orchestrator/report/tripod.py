"""Writes `tripod_llm.json`: what TRIPOD-LLM asks of a report, item by item, filled from what the study knows.

It computes nothing and judges nothing. An item that a machine can't fill, or can't fill yet, says what is missing.
Source: protocol, section 3.13; letters and wording after a public transcription of Nature Medicine 2025;31:60-69.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from pydantic import JsonValue

from orchestrator.analysis.findings import Findings
from orchestrator.analysis.tables.clinical.operating import SPECIFICITY
from orchestrator.audit.measures import AuditNote
from orchestrator.design.grid import Design
from orchestrator.report.flow import FlowView
from orchestrator.report.settings import DesignView, NamedRecipe, view_design
from orchestrator.study.study import Study
from workers.contract.outcome import Record, Sealed
from workers.contract.recipes.cohorts import TableCohort

GUIDELINE = "TRIPOD-LLM, Nature Medicine 2025;31:60-69; letters and wording after a public transcription, to be checked"
BY_HAND = "to be written by the authors"
NOT_YET = "nothing is known of it yet"
CLOSED = "scores on held-out are closed until every trial has an outcome"
# Items whose content is read from scores on held-out.
SCORED = frozenset({"7c", "16d", "17"})

Content: TypeAlias = dict[str, JsonValue]


class ReportedItem(Record):
    """One item: what it asks, who fills it, what is known, and what is still missing (null: nothing).

    auto: the study knows all of it. partial: the authors add the rest. manual: only the authors know.
    """

    item: str
    asks: str
    status: Literal["auto", "partial", "manual"]
    content: Content | None
    missing: str | None


class Checklist(Sealed):
    """`tripod_llm.json`: aggregates alone, small counts hidden as on the page."""

    study: str
    guideline: str = GUIDELINE
    items: tuple[ReportedItem, ...]


@dataclass(frozen=True)
class Basis:
    """What items are filled from."""

    study: Study
    design: Design
    findings: Findings
    flow: FlowView
    audit: AuditNote | None

    @cached_property
    def view(self) -> DesignView:
        """The design in words."""
        return view_design(self.design)

    def fixed(self, *sections: str) -> Content:
        """Settings of these sections that never vary."""
        return {one.name: one.value for one in self.view.fixed if one.name.startswith(sections)}

    @property
    def axes(self) -> Content:
        """What varies, and over which values."""
        return {axis.name: list(axis.levels) for axis in self.view.axes}

    @property
    def commits(self) -> list[JsonValue]:
        """Of this program, as outcomes name it."""
        return list(self.findings.provenance.commits) if self.findings.provenance else []


@dataclass(frozen=True)
class Wanted:
    """A row of the table: what an item asks, how it is filled, and what the authors add to it."""

    asks: str
    fill: Callable[[Basis], Content] | None = None
    by_hand: str | None = None


def checklist(known: Basis) -> Checklist:
    """Every item of the table, in its order."""
    return Checklist(study=known.study.study, items=tuple(_item(name, row, known) for name, row in ITEMS.items()))


def _item(name: str, row: Wanted, known: Basis) -> ReportedItem:
    content = row.fill(known) if row.fill else {}
    content = {key: value for key, value in content.items() if value not in (None, "", [], {})}
    missing = [] if content or row.fill is None else [CLOSED if name in SCORED and known.findings.tuning else NOT_YET]
    missing += [row.by_hand or BY_HAND] if row.by_hand or row.fill is None else []
    return ReportedItem(
        item=name,
        asks=row.asks,
        status="manual" if row.fill is None else "partial" if row.by_hand else "auto",
        content=content or None,
        missing="; ".join(missing) or None,
    )


def _recipe(recipe: NamedRecipe) -> Content:
    return {"name": recipe.name, "digest": recipe.digest, **{one.name: one.value for one in recipe.settings}}


def _source(known: Basis) -> Content:
    return {**_recipe(known.view.cohort), "data_class": known.study.cohort.data_class.value}


def _splits(known: Basis) -> Content:
    return {
        row.name: {
            "examples": str(row.n_examples), "participants": str(row.n_participants), "events": str(row.n_events)
        }
        for row in known.flow.splits
    }  # fmt: skip


def _dates(known: Basis) -> Content:
    recipe = known.study.cohort.recipe
    counts_days = recipe.mapping.clock != "dates" if isinstance(recipe, TableCohort) else not recipe.kind.has_calendar
    return {"times": "days from an origin, which is no calendar date" if counts_days else "dates"}


def _assignment(known: Basis) -> Content:
    given = "as subject_splits.parquet says; without one, " if known.study.cohort.kind.may_bring_splits else ""
    return {"split": f"{given}participants, by a hash of their number: predictors differ by chance alone"}


def _preprocessing(known: Basis) -> Content:
    return {
        "excluded": {step.name: str(step.count) for step in known.flow.steps if step.is_exclusion},
        "prompt": known.fixed("prompt."),
        "checks": "refused before anything trains: participants in two splits, records after the index date, codes "
        "that tell the outcome, a code that alone ranks too well",
    }


def _imbalance(known: Basis) -> Content:
    per_case = known.view.controls_per_case
    return {
        "training": "subsets of the train split with as many cases as controls",
        "evaluation": "natural prevalence"
        if per_case is None
        else f"all cases and {per_case:g} weighted controls a case",
        "missing_values": "left out of the prompt; imputed by the median, with an indicator, for classical comparators",
        "invalid_outputs": "stay in, scored with the training prevalence; forced answers beside them",
    }


def _models(known: Basis) -> Content:
    origin = known.findings.provenance
    return {
        "bases": [_recipe(base) for base in known.view.bases],
        "first_trial_began": origin.first_started_at if origin else None,
        "last_trial_ended": origin.last_ended_at if origin else None,
        "packages": {name: list(versions) for name, versions in origin.packages.items()} if origin else None,
    }


def _procedure(known: Basis) -> Content:
    return {
        "axes": known.axes,
        "settings": known.fixed("prompt.", "teacher.", "target.", "demonstrations.", "evaluation."),
    }


def _outputs(known: Basis) -> Content:
    scorings = sorted({str(scoring) for row in known.findings.supervisions for scoring in row.estimates})
    return {
        "raw": "log-probabilities of the answers yes and no at the answer line, as P(yes)",
        "read_as": list(scorings) or ["strict", "forced"],
        "invalid": "no answer line, another answer, or cut off: kept as such, with the reason",
    }


def _thresholds(known: Basis) -> Content:
    return {
        "probability": "P(yes), corrected from the training prevalence to the natural one",
        "threshold": f"of each trial, where {SPECIFICITY:.0%} of its tuning controls are not above it",
    }


def _metrics(known: Basis) -> Content:
    return {
        "discrimination": "ROC-AUC, ties count half; PR-AUC beside prevalence",
        "calibration": "Brier score, calibration error over ten bins of equal mass, slope and intercept",
        "utility": "sensitivity at a specificity that was set on tuning; net benefit",
        "uncertainty": f"{known.findings.n_replicates} resamples of participants, seed {known.findings.bootstrap_seed}",
        "code": known.commits,
    }


def _audit(known: Basis) -> Content:
    return known.audit.model_dump(mode="json") if known.audit else {}


def _comparators(known: Basis) -> Content:
    return {"comparators": [row.model_dump(mode="json") for row in known.findings.baselines if row.n_scored]}


def _prompts(known: Basis) -> Content:
    prompts = {trial.spec.prompt.digest(): trial.spec.prompt for trial in known.design.everything if trial.spec.prompt}
    return {"templates": [{"digest": digest, **one.content()} for digest, one in prompts.items()]}  # type: ignore[dict-item]


def _prompt_data(known: Basis) -> Content:
    return {"developed_on": "the train split alone; held-out is read once, after training", "axes": known.axes}


def _compute(known: Basis) -> Content:
    cost, origin = known.findings.cost, known.findings.provenance
    return {**(cost.model_dump(mode="json") if cost else {}), "devices": list(origin.devices) if origin else None}


def _data(known: Basis) -> Content:
    return {"cohort": known.view.cohort.digest, "source": known.view.cohort.name}


def _code(known: Basis) -> Content:
    return {"commits": known.commits}


def _flow(known: Basis) -> Content:
    return {step.name: str(step.count) for step in known.flow.steps}


def _characteristics(known: Basis) -> Content:
    groups = known.findings.subgroups.groups if known.findings.subgroups else ()
    held_out = {f"{one.kind} {one.level}": {"participants": str(one.n_participants)} for one in groups}
    return {"splits": _splits(known), "held_out": held_out}  # type: ignore[dict-item]


def _analysed(known: Basis) -> Content:
    found = known.findings.held_out
    return {name: str(count) for name, count in found} if found else {}


def _performance(known: Basis) -> Content:
    found = known.findings
    if found.held_out is None:
        return {}
    told = {"answer", "contrasts", "supervisions", "operating", "calibration", "censoring", "subgroups"}
    return found.model_dump(mode="json", include=told)


ITEMS: Mapping[str, Wanted] = {
    "2e": Wanted("abstract: data sources", _source),
    "5a": Wanted("data sources", _source),
    "5b": Wanted("distribution of the data by split", _splits),
    "5c": Wanted("dates of the oldest and newest record", _dates, by_hand="years of the oldest and the newest record"),
    "5d": Wanted("preprocessing and quality checks", _preprocessing),
    "5e": Wanted("missing data and imbalance", _imbalance),
    "6a": Wanted("models, versions, dates of training and inference", _models),
    "6b": Wanted(
        "architecture and hyper-parameters", lambda known: {"axes": known.axes, **known.fixed("base.", "training.")}
    ),
    "6c": Wanted("procedure: prompt, seeds, decoding", _procedure),
    "6d": Wanted("raw and post-processed output", _outputs),
    "6e": Wanted("how probabilities and thresholds were set", _thresholds),
    "6g": Wanted("metrics and their definitions", _metrics, by_hand="why these metrics answer the clinical question"),
    "7a": Wanted(
        "code and relevance of the metrics", _metrics, by_hand="why these metrics answer the clinical question"
    ),
    "7b": Wanted("assessors of outputs", _audit, by_hand="qualifications of the raters"),
    "7c": Wanted("comparators", _comparators),
    "8a": Wanted("annotation guideline", _audit, by_hand="how raters were instructed beyond the sheet"),
    "8b": Wanted("number of annotators, share annotated twice", _audit, by_hand="who the raters were"),
    "8c": Wanted("agreement of annotators", _audit, by_hand="how disagreements were settled"),
    "9a": Wanted("prompt design", _prompts),
    "9b": Wanted("data used to develop prompts", _prompt_data),
    "12": Wanted("compute", _compute),
    "13": Wanted("ethics approval and consent"),
    "14a": Wanted("funding"),
    "14b": Wanted("conflicts of interest"),
    "14c": Wanted("study protocol"),
    "14d": Wanted("registration"),
    "14e": Wanted("availability of data", _data, by_hand="where readers can obtain the data"),
    "14f": Wanted("availability of code", _code, by_hand="where readers can obtain the code"),
    "15": Wanted("involvement of patients and the public"),
    "16a": Wanted("flow of participants", _flow),
    "16b": Wanted("characteristics by split", _characteristics, by_hand="characteristics beyond sex, age and outcome"),
    "16c": Wanted("shift of predictors between splits", _assignment, by_hand="whether predictors differ between them"),
    "16d": Wanted("participants and events in each analysis", _analysed),
    "17": Wanted("performance with intervals", _performance),
    "19a": Wanted("interpretation in the light of other studies"),
    "19b": Wanted("limitations"),
    **dict.fromkeys(("19c", "19d", "19e", "19f", "19g"), Wanted("implications for use")),
}
