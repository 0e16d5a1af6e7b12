"""What a stranger finds out about a bundle, offline: whether its files are whole, and its findings follow from them."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from orchestrator.analysis.answer import phrase_answer
from orchestrator.analysis.cells import match_cells
from orchestrator.analysis.checks.look import error_after, looks_statement
from orchestrator.analysis.checks.planned import sealed_contrast
from orchestrator.analysis.checks.verdict import judge
from orchestrator.analysis.contrasts import ContrastFindings, contrast_findings
from orchestrator.analysis.findings import Findings
from orchestrator.analysis.resampling.bootstrap import Aucs, AucTable
from orchestrator.analysis.results import Results
from orchestrator.analysis.tables.scores import comparator_differences
from orchestrator.analysis.uncertainty.layers import ERROR
from orchestrator.design.grid import expand
from orchestrator.explain.bundle import FINDINGS, SCORES, BundleGrade, BundleManifest, replicates_file
from orchestrator.explain.leaving import MANIFEST, STORE
from orchestrator.launch.reporting import find_out
from orchestrator.launch.sealing import standing
from orchestrator.store.outcomes import read_outcomes, read_store
from orchestrator.store.sealing import read_looks
from orchestrator.store.verification import verify_store
from orchestrator.study.study import Contrast, Study, load_sealed
from orchestrator.tracking.metrics import auc_of
from workers.contract.errors import InputError, Problem
from workers.contract.files import read_regular
from workers.contract.layout import StoreLayout
from workers.contract.recipes.scorings import SCORINGS, Scoring
from workers.contract.system.durable import file_digests

# Another machine adds up in another order.
TOLERANCE = 1e-6
# Findings of which an older bundle says nothing.
LATER = {"comparators"}


@dataclass(frozen=True)
class BundleCheck:
    """What was checked of a bundle, and what is wrong with it."""

    study: str
    grade: BundleGrade
    n_files: int
    answer: str
    wrong: tuple[str, ...]


def check_bundle(folder: Path) -> BundleCheck:
    """Read every file, and build again whatever follows from them.

    Raises:
        InputError: The folder is no bundle that this version reads.
        StoreError: A record in it is damaged though its checksum holds.
    """
    there = sorted(folder.rglob("*"))
    if any(path.is_symlink() for path in there):
        raise InputError(Problem(str(folder), "holds a link, which no bundle does", "ask for it anew"))
    try:
        manifest = BundleManifest.model_validate_json(read_regular(folder / MANIFEST))
    except ValidationError:
        what = "is damaged, or of another version"
        raise InputError(Problem(str(folder / MANIFEST), what, "ask for it anew")) from None
    found = {name: digest for name, digest in file_digests(folder).items() if name != MANIFEST}
    names = sorted(found.keys() | manifest.files.keys())
    wrong = [f"{name}: is not what was written" for name in names if found.get(name) != manifest.files.get(name)]
    strays = (path for path in there if not (path.is_file() or (path.is_dir() and any(path.iterdir()))))
    wrong += [f"{path.relative_to(folder)}: is in no bundle" for path in strays]
    answer = ""
    if not wrong:
        layout = StoreLayout(folder / STORE)
        study = load_sealed(layout.study)
        wrong = [*_untrue(manifest, study)]
        try:
            stored = Findings.model_validate_json(read_regular(folder / FINDINGS))
            wrong, answer = [*wrong, *_differences(study, layout, stored, manifest.grade)], stored.answer
        except (ValueError, KeyError, OSError) as error:  # of pydantic and of pyarrow, of a table that lacks a trial
            wrong.append(f"{FINDINGS}, or a table: is not what `sweep export` writes ({type(error).__name__})")
    return BundleCheck(manifest.study, manifest.grade, len(found), answer, tuple(wrong))


def _untrue(manifest: BundleManifest, study: Study) -> Iterator[str]:
    """What a manifest claims of a study that is another's."""
    data_class = study.cohort.data_class
    claims = {"study": (manifest.study, study.study), "data_class": (manifest.data_class, data_class)}
    claims["grade"] = (manifest.grade, BundleGrade.of(data_class))
    for name, (claimed, is_so) in claims.items():
        if claimed != is_so:
            yield f"{MANIFEST}: {name} is {is_so} in the study that was sealed"


def _differences(study: Study, layout: StoreLayout, stored: Findings, grade: BundleGrade) -> Iterator[str]:
    if grade is BundleGrade.PREDICTIONS:
        for damage in verify_store(study, layout).damages:
            yield f"{damage.part} {damage.name}: {damage.what}"
        again = find_out(study, expand(study), layout, read_store(layout))
    else:
        aucs = _replicates(layout)
        again = _rebuilt(study, layout, stored, aucs)
        yield from _unlike_scores(layout, stored, aucs)
    later = LATER - stored.model_fields_set
    for place in unlike(*(json.loads(found.model_dump_json(exclude=later)) for found in (stored, again))):
        yield f"{FINDINGS}: {place} does not follow from the other files"


def _unlike_scores(layout: StoreLayout, stored: Findings, aucs: Aucs) -> Iterator[str]:
    """Where the table of scores, the findings' list of trials, and what the replicates are of, say not the same."""
    import pyarrow.parquet as pq

    told = {row.pop("trial_id"): row for row in pq.read_table(layout.root.parent / SCORES).to_pylist()}
    outcomes = read_outcomes(layout).committed
    if told.keys() != outcomes.keys():
        yield f"{SCORES}: is of other trials than {STORE}"
    observed = {key: dict(zip(table.trial_ids, table.observed.tolist(), strict=True)) for key, table in aucs.items()}
    for row in (row for row in stored.trials if row.trial_id in told):
        at = told[row.trial_id]
        listed = {Scoring.STRICT: row.strict_auc, Scoring.FORCED: row.forced_auc, **row.further_aucs}
        same: dict[str, object] = {auc_of("held_out", scoring): auc for scoring, auc in listed.items()}
        same |= {f"held_out/strict_{name}": getattr(row, name) for name in ("pr_auc", "brier", "ece")}
        same |= {"cost/wall_s": row.wall_s, "state": row.standing}
        found = ((auc_of("held_out", scoring), of.get(row.trial_id, math.nan)) for scoring, of in observed.items())
        replicated: dict[str, object] = {name: auc for name, auc in found if math.isfinite(auc)}
        for whose, others in ((FINDINGS, same), ("the replicates", replicated)):
            for name in unlike({name: at.get(name) for name in others}, others):
                yield f"{SCORES}: {name} of {row.trial_id} is not that of {whose}"


def _rebuilt(study: Study, layout: StoreLayout, stored: Findings, aucs: Aucs) -> Findings:
    """The stored findings with all in it that follows from replicates."""
    design, held, looks = expand(study), read_store(layout), read_looks(layout)
    results = Results(held.outcomes.committed, {}, held.attempts, ended=held.outcomes.ended)
    compare = partial(contrast_findings, results=results, aucs=aucs)

    def compared(name: str, one: Contrast, error: float = ERROR) -> ContrastFindings:
        return compare(name, one, cells=results.unspared(match_cells(design.trials, one)), error=error)

    errors = dict.fromkeys([*study.contrasts][:1], error_after(looks))
    contrasts = tuple(compared(name, one, errors.get(name, ERROR)) for name, one in study.contrasts.items())
    plan = standing(study, layout)
    changed, verdict = sealed_contrast(plan, study, compared), judge(stored.checks)
    answer = phrase_answer(contrasts[0] if contrasts else None, verdict, stored.equivalence)
    said = " ".join([*([changed.statement] if changed else []), answer, *looks_statement(looks)])
    told = {"study": study.study, "question": study.question, "plan": plan}
    found = {"contrasts": contrasts, "comparators": comparator_differences(design, results, aucs), "verdict": verdict}
    return stored.model_copy(update={**told, **found, "answer": said})


def _replicates(layout: StoreLayout) -> Aucs:
    import pyarrow.parquet as pq

    tables: dict[Scoring, AucTable] = {}
    for scoring in SCORINGS:
        if (path := replicates_file(layout, scoring)).is_file():
            read = pq.read_table(path)
            values = np.column_stack([column.to_numpy() for column in read.columns])
            tables[scoring] = AucTable(tuple(read.column_names), values[0], values[1:])
    return tables


def unlike(one: object, other: object, place: str = "") -> Iterator[str]:
    """Where two readings of JSON differ, numbers by more than rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            yield from unlike(one.get(name), other.get(name), f"{place}.{name}".lstrip("."))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for n, pair in enumerate(zip(one, other, strict=True)):
            yield from unlike(*pair, f"{place}[{n}]")
    elif isinstance(one, float) and isinstance(other, float):
        if not math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield place
    elif one != other:
        yield place
