"""A study as a folder that a stranger checks offline: its plan, what its trials scored, and what was found of it.

Of records that anybody may read it is a store with predictions, in which participants and examples are numbered in the
order of their hashes, so that every finding comes out again. Of records under an agreement it holds no person's row:
scores of trials and the bootstrap's replicates, from which contrasts, bounds and verdict follow.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from orchestrator.analysis.resampling.bootstrap import AucTable, bootstrap_aucs
from orchestrator.analysis.resampling.held_out import align_held_out
from orchestrator.analysis.results import Results, load_results
from orchestrator.design.grid import Design, expand
from orchestrator.explain.leaving import MANIFEST, STORE, away
from orchestrator.launch.reporting import find_out
from orchestrator.store.dataset.committed import read_predictions, verified_bytes
from orchestrator.store.machine import now
from orchestrator.store.outcomes import Outcomes, Snapshot, read_store
from orchestrator.store.sealing import sealed_records
from orchestrator.store.verification import unreadable
from orchestrator.study.study import Study, sealed_text
from orchestrator.tracking.metrics import metrics_of
from workers.contract.data_class import DataClass
from workers.contract.errors import InputError, Problem, StoreError
from workers.contract.files import FileName, true_path
from workers.contract.layout import StoreLayout
from workers.contract.outcome import PREDICTIONS, Cost, Outcome, Sealed
from workers.contract.recipes.recipe import Sha256
from workers.contract.recipes.scorings import Scoring
from workers.contract.system.durable import file_digests
from workers.contract.system.removal import try_to_remove

if TYPE_CHECKING:
    import pyarrow as pa

FINDINGS, SCORES = "findings.json", "scores.parquet"
PEOPLE = {"participant_id": "p", "example_id": "e"}
STEPS = ("history.parquet", "diagnostics.parquet")


class BundleGrade(StrEnum):
    """What a bundle holds of people: a row each, under numbers, or none."""

    PREDICTIONS = "predictions"
    SCORES = "scores"

    @classmethod
    def of(cls, kept: DataClass) -> "BundleGrade":
        """By whose records they are."""
        return cls.SCORES if kept is DataClass.CONTROLLED else cls.PREDICTIONS

    @property
    def rebuilt(self) -> tuple[str, ...]:
        """Findings that come out again, by their names."""
        if self is BundleGrade.PREDICTIONS:
            return ("every finding",)
        return ("contrasts", "comparators", "answer", "verdict")

    @property
    def not_rebuilt(self) -> tuple[str, ...]:
        """What a stranger has to believe."""
        training = "that adapters were trained as their recipes say: neither adapters nor records are in it"
        if self is BundleGrade.PREDICTIONS:
            return (training,)
        people = "the replicates, and all findings that need rows of people: the checks, learning, calibration, groups"
        return (training, people, "scores of trials, which follow from predictions that are not in it")


class BundleManifest(Sealed):
    """`bundle.json`: what a bundle is of, and SHA-256 of every other file; `made_at` is UTC, ISO 8601."""

    version: Literal[1] = 1
    study: str
    grade: BundleGrade
    data_class: DataClass
    made_at: str
    files: dict[FileName, Sha256]


def make_bundle(study: Study, layout: StoreLayout, to: Path) -> BundleManifest:
    """Write a study's bundle into a new folder.

    Raises:
        InputError: The folder exists, lies in the store or can't be made, no trial has an outcome, or scores on
            held_out are closed.
        StoreError: An outcome can't be trusted, or what a trial committed is damaged.
    """
    if layout.is_blinded:
        what = "scores on held-out are closed until every trial has an outcome"
        raise InputError(Problem(str(layout.root), what, "export once it is complete"))
    design, held = expand(study), read_store(layout)
    if not held.outcomes.committed:
        raise InputError(Problem(str(layout.root), "holds no trial yet", "run it first"))
    for damage in unreadable(held.outcomes, layout):
        mend = "`sweep verify --quarantine` moves it away, and `sweep run` does its trial again"
        raise StoreError(f"{layout.outcome(damage.name)}: {damage.what}; {mend}")
    if true_path(to).is_relative_to(true_path(layout.root)):
        raise InputError(Problem(str(to), "lies in the store", "name a folder outside of it"))
    try:
        to.mkdir(parents=True)
    except OSError as error:
        what = f"can't be made ({type(error).__name__})"
        raise InputError(Problem(str(to), what, "name a new folder in one of yours")) from None
    grade, target = BundleGrade.of(study.cohort.data_class), StoreLayout(to / STORE)
    try:
        _copy_plan(study, layout, target)
        _write_attempts(held, target)
        if grade is BundleGrade.PREDICTIONS:
            _write_predictions(layout, target, design, held.outcomes)
            findings = find_out(study, design, target, read_store(target))
        else:
            _write_scores(layout, target, design, held)
            findings = find_out(study, design, layout, held)
        (to / FINDINGS).write_text(findings.model_dump_json(indent=1))
        made = {"study": study.study, "grade": grade, "data_class": study.cohort.data_class, "made_at": now()}
        manifest = BundleManifest.model_validate({**made, "files": file_digests(to)}).sealed()
        (to / MANIFEST).write_text(manifest.model_dump_json(indent=1))
    except BaseException:
        try_to_remove(to, within=to.parent)
        raise
    return manifest


def _copy_plan(study: Study, layout: StoreLayout, target: StoreLayout) -> None:
    """The study, what was sealed, and what was decided at looks."""
    target.root.mkdir()
    target.study.write_text(sealed_text(away(study)))
    for path, record in sealed_records(layout).items():
        _write(target.root / path.relative_to(layout.root), record)


def _write_attempts(held: Snapshot[Outcomes], target: StoreLayout) -> None:
    for trial_id, attempts in held.attempts.items():
        for attempt in attempts:
            _write(target.attempts(trial_id) / f"{attempt.number}.json", attempt)


def _write_predictions(layout: StoreLayout, target: StoreLayout, design: Design, outcomes: Outcomes) -> None:
    """Outcomes without the host that they were computed on, with the files of which their scores follow."""
    import pyarrow.parquet as pq

    numbers: dict[str, dict[str, str]] = {column: {} for column in PEOPLE}
    ours = {key: outcome for key, outcome in outcomes.committed.items() if key in design.by_id}
    tables = {key: read_predictions(layout, outcome) for key, outcome in ours.items() if outcome.predictions}
    for column, letter in PEOPLE.items():
        found = sorted(set().union(*(table[column].unique().to_pylist() for table in tables.values())))
        numbers[column] = {name: f"{letter}{n:07d}" for n, name in enumerate(found)}
    for key, outcome in ours.items():
        folder = target.trial(key) / outcome.attempt
        folder.mkdir(parents=True)
        for name in STEPS:
            if name in outcome.files:
                (folder / name).write_bytes(verified_bytes(layout, outcome, name))
        if key in tables:
            pq.write_table(_numbered(tables[key], numbers), folder / PREDICTIONS)
        if not (files := file_digests(folder)):  # nothing of a bundle is an empty folder
            folder.rmdir()
        _write_outcome(target, outcome, files=files)


def _numbered(table: "pa.Table", numbers: dict[str, dict[str, str]]) -> "pa.Table":
    """In the order of their hashes, as the bootstrap takes people, so that its replicates are the same."""
    import pyarrow as pa

    for column, number_of in numbers.items():
        place = table.column_names.index(column)
        table = table.set_column(place, column, pa.array([number_of[name] for name in table[column].to_pylist()]))
    return table


def _write_scores(layout: StoreLayout, target: StoreLayout, design: Design, held: Snapshot[Outcomes]) -> None:
    """Outcomes without scores and cost, what may be told of both, and each trial's AUC in every replicate."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    results = load_results(
        layout, design, outcomes=held.outcomes.committed, attempts=held.attempts, ended=held.outcomes.ended
    )
    for what in results.damaged.values():
        raise StoreError(what)
    for outcome in results.outcomes.values():
        coarser = {"scores": {}, "cost": Cost()}
        coarser |= {name: round(getattr(outcome, name), 2) for name in ("train_prevalence", "natural_prevalence")}
        _write_outcome(target, outcome.model_copy(update=coarser), files={})
    rows = [{"trial_id": key, "state": one.state, **metrics_of(one)} for key, one in results.outcomes.items()]
    pq.write_table(pa.Table.from_pylist(rows), target.root.parent / SCORES)
    for scoring, aucs in replicates_of(results).items():
        columns = [[observed, *drawn] for observed, drawn in zip(aucs.observed, aucs.replicates.T, strict=True)]
        table = pa.table(columns, names=list(aucs.trial_ids))
        pq.write_table(table, replicates_file(target, scoring))


def replicates_file(target: StoreLayout, scoring: Scoring) -> Path:
    """A column a trial: what was observed, then each replicate."""
    return target.root.parent / f"replicates-{scoring}.parquet"


def replicates_of(results: Results) -> dict[Scoring, AucTable]:
    """As the analysis draws them; none where nothing was scored."""
    return bootstrap_aucs(align_held_out(results.predictions)) if results.predictions else {}


def _write_outcome(target: StoreLayout, outcome: Outcome, *, files: dict[str, str]) -> None:
    update = {"provenance": away(outcome.provenance), "files": files}
    _write(target.outcome(outcome.trial_id), outcome.model_copy(update=update))


def _write(path: Path, record: Outcome | Sealed) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(away(record).sealed().model_dump_json(indent=1))
