"""Everything that the report says, computed once: no number on the page has another source.

A `Findings` holds aggregates only, small counts already hidden, so its JSON may be passed on as the page may.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from orchestrator.analysis.answer import phrase_answer
from orchestrator.analysis.cells import Cell, difference_in, match_cells
from orchestrator.analysis.checks.check import Check
from orchestrator.analysis.checks.complete import Coverage, coverage, missing_warnings
from orchestrator.analysis.checks.equivalence import Equivalence, equivalence
from orchestrator.analysis.checks.learnt import LearningAt, learning_by_place, learning_check
from orchestrator.analysis.checks.look import Looked, error_after, looks_statement
from orchestrator.analysis.checks.planned import SealedContrast, sealed_contrast
from orchestrator.analysis.checks.verdict import Verdict, judge, run_checks
from orchestrator.analysis.checks.warnings import warnings_of
from orchestrator.analysis.contrasts import (
    ContrastFindings,
    InteractionFindings,
    contrast_findings,
    interaction_findings,
    mean_of,
)
from orchestrator.analysis.resampling.bootstrap import Aucs, AucTable, bootstrap_aucs
from orchestrator.analysis.resampling.held_out import align_held_out
from orchestrator.analysis.results import Results
from orchestrator.analysis.tables.arms import ArmProbe, ArmScore, ArmTraining, arm_probes, arm_scores, arm_training
from orchestrator.analysis.tables.best_rate import BestRate, best_rates
from orchestrator.analysis.tables.clinical.calibration import Calibration, calibrations
from orchestrator.analysis.tables.clinical.censoring import CensoringReading, censoring_reading
from orchestrator.analysis.tables.clinical.curves import Curves, curves_at_largest
from orchestrator.analysis.tables.clinical.invalid import InvalidReadings, invalid_readings
from orchestrator.analysis.tables.clinical.operating import Operating, operating
from orchestrator.analysis.tables.clinical.subgroups import Subgroups, subgroups
from orchestrator.analysis.tables.factorial import DifferenceInDifferences, differences_in_differences
from orchestrator.analysis.tables.ledger import (
    Completeness,
    FailureGroup,
    ForecastScore,
    HeldOutSet,
    ProvenanceSummary,
    TotalCost,
    completeness_of,
    failures_of,
    held_out_set,
    provenance_of,
    total_cost_of,
)
from orchestrator.analysis.tables.noise import NoiseFloor, noise_floor
from orchestrator.analysis.tables.parts import SpentTime
from orchestrator.analysis.tables.saturation import SaturationRow, saturation_rows
from orchestrator.analysis.tables.scores import (
    BaselineScore,
    ComparatorDifference,
    PlaceScore,
    SupervisionScore,
    TrialRow,
    baseline_scores,
    comparator_differences,
    place_scores,
    supervision_scores,
    trial_rows,
)
from orchestrator.analysis.tables.single_cells import SingleCells, single_cells
from orchestrator.analysis.tables.tuning import TuningScore, tuning_scores
from orchestrator.analysis.uncertainty.layers import ERROR
from orchestrator.analysis.uncertainty.power import Detectable, detectable_in
from orchestrator.analysis.uncertainty.sequence import Claim, claims_of
from orchestrator.design.grid import Design
from orchestrator.store.sealing import Look, Standing
from orchestrator.study.study import Contrast, Study
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import ALWAYS_SCORED

UNSEALED = Standing()
CLOSED = "No answer yet: scores on held-out are closed to everybody until every trial has an outcome."
NO_AUCS = dict.fromkeys(ALWAYS_SCORED, AucTable(trial_ids=(), observed=np.empty(0), replicates=np.empty((0, 0))))


class Findings(Record):
    """What a study found; null where nothing is scored yet."""

    study: str
    question: str
    n_replicates: int
    bootstrap_seed: int
    answer: str
    plan: Standing = Standing()
    sealed_contrast: SealedContrast | None = None
    looks: tuple[Looked, ...] = ()
    verdict: Verdict
    checks: tuple[Check, ...]
    learning: tuple[LearningAt, ...] = ()
    equivalence: Equivalence | None = None
    warnings: tuple[str, ...]
    held_out: HeldOutSet | None
    tuning: tuple[TuningScore, ...] = ()
    completeness: tuple[Completeness, ...]
    coverage: tuple[Coverage, ...] = ()
    contrasts: tuple[ContrastFindings, ...]
    invalid_readings: InvalidReadings | None = None
    censoring: CensoringReading | None = None
    detectable: Detectable | None = None
    operating: Operating | None = None
    calibration: tuple[Calibration, ...] = ()
    curves: tuple[Curves, ...] = ()
    subgroups: Subgroups | None = None
    interactions: tuple[InteractionFindings, ...]
    claims: tuple[Claim, ...] = ()
    single_cells: tuple[SingleCells, ...] = ()
    noise_floor: NoiseFloor | None = None
    best_rates: tuple[BestRate, ...] = ()
    supervisions: tuple[SupervisionScore, ...]
    places: tuple[PlaceScore, ...]
    arms: tuple[ArmScore, ...]
    differences_in_differences: tuple[DifferenceInDifferences, ...]
    saturation: tuple[SaturationRow, ...]
    training: tuple[ArmTraining, ...]
    probes: tuple[ArmProbe, ...]
    baselines: tuple[BaselineScore, ...]
    comparators: tuple[ComparatorDifference, ...] = ()
    trials: tuple[TrialRow, ...]
    failures: tuple[FailureGroup, ...]
    damaged: tuple[str, ...]
    cost: TotalCost | None
    forecasts: tuple[ForecastScore, ...] = ()
    spent: tuple[SpentTime, ...] = ()
    provenance: ProvenanceSummary | None


def analyse(
    study: Study,
    design: Design,
    results: Results,
    *,
    plan: Standing = UNSEALED,
    looks: Sequence[Look] = (),
    n_replicates: int = 2000,
    seed: int = 0,
) -> Findings:
    """Compute every finding of a study from its results; the same inputs give the same findings.

    Args:
        plan: How the study stands to what was sealed.
        looks: Those that were taken; the primary contrast's intervals allow for them.
        n_replicates: Bootstrap resamples of the held-out participants.
        seed: Of the resamples.

    Raises:
        StoreError: The trials were scored on different examples.
    """
    if results.are_withheld:
        return _on_tuning(study, design, results, plan=plan, n_replicates=n_replicates, seed=seed)
    min_cell = study.cohort.min_cell
    held_out = align_held_out(results.predictions) if results.predictions else None
    aucs = bootstrap_aucs(held_out, n_replicates=n_replicates, seed=seed) if held_out else NO_AUCS
    learning = learning_by_place(design, results, asked=study.checks, n_replicates=n_replicates, seed=seed)

    def matched(contrast: Contrast) -> tuple[Cell, ...]:
        return results.unspared(match_cells(design.trials, contrast))

    cells = {name: matched(contrast) for name, contrast in study.contrasts.items()}
    covered = tuple(coverage(name, matched, results) for name, matched in cells.items())
    first = covered[0] if covered else None
    checks = run_checks(
        design, results, asked=study.checks, places=learning, primary=first, held_out=held_out, aucs=aucs
    )
    compare = partial(contrast_findings, results=results, aucs=aucs)
    errors = dict.fromkeys([*study.contrasts][:1], error_after(looks))
    contrasts = tuple(
        compare(name, one, cells=cells[name], error=errors.get(name, ERROR)) for name, one in study.contrasts.items()
    )
    primary = contrasts[0] if contrasts else None
    weights = _weights_of(primary, study, cells)
    resampled = {"min_cell": min_cell, "n_replicates": n_replicates, "seed": seed}
    equal = equivalence(primary, cells[primary.name], learning, study.checks, aucs) if primary else None
    changed = sealed_contrast(plan, study, lambda name, one: compare(name, one, cells=matched(one)))
    answer = phrase_answer(primary, judge(checks), equal)
    subtract = partial(interaction_findings, contrasts=study.contrasts, cells=cells, results=results, aucs=aucs)
    interactions = tuple(subtract(name, one) for name, one in study.interactions.items())
    return Findings(
        study=study.study,
        question=study.question,
        n_replicates=n_replicates,
        bootstrap_seed=seed,
        answer=" ".join([*([changed.statement] if changed else []), answer, *looks_statement(looks)]),
        looks=tuple(map(Looked.of, looks)),
        plan=plan,
        sealed_contrast=changed,
        verdict=judge(checks),
        checks=checks,
        learning=learning,
        equivalence=equal,
        warnings=(
            *warnings_of(study, design, results, held_out, cells),
            *missing_warnings(covered, asked=study.checks),
        ),
        held_out=held_out_set(held_out, min_cell=min_cell) if held_out else None,
        coverage=covered,
        contrasts=contrasts,
        invalid_readings=invalid_readings(weights, results, aucs, **resampled),
        censoring=censoring_reading(weights, held_out, n_replicates=n_replicates, seed=seed),
        calibration=calibrations(design, results, held_out, min_cell=min_cell),
        curves=curves_at_largest(design, results, held_out, min_cell=min_cell),
        operating=operating(design, results, weights, **resampled),
        subgroups=subgroups(design, results, **resampled),
        detectable=detectable_in(primary.widest) if primary else None,
        interactions=interactions,
        claims=claims_of(contrasts, interactions),
        single_cells=single_cells(study.contrasts, cells=cells, results=results, held_out=held_out),
        noise_floor=noise_floor(study.contrasts, design, cells=cells, results=results, aucs=aucs),
        best_rates=best_rates(study.contrasts, cells=cells, results=results, aucs=aucs),
        differences_in_differences=differences_in_differences(design, results, aucs, narrowed=study.contrasts.values()),
        **_described(design, results, aucs, min_cell=min_cell),
    )


def _on_tuning(
    study: Study, design: Design, results: Results, *, plan: Standing, n_replicates: int, seed: int
) -> Findings:
    """What may be found out while the scores on held_out are closed."""
    learning = learning_by_place(design, results, asked=study.checks, n_replicates=n_replicates, seed=seed)
    return Findings(
        study=study.study,
        question=study.question,
        n_replicates=n_replicates,
        bootstrap_seed=seed,
        answer=CLOSED,
        plan=plan,
        verdict=Verdict(allowed=False, reasons=(CLOSED,), none_reasons=(CLOSED,)),
        checks=(learning_check(learning, asked=study.checks),),
        learning=learning,
        warnings=(),
        held_out=None,
        tuning=tuning_scores(design, results),
        completeness=completeness_of(design, results),
        contrasts=(),
        interactions=(),
        supervisions=(),
        places=(),
        arms=(),
        differences_in_differences=(),
        saturation=(),
        training=arm_training(design, results),
        probes=arm_probes(design, results),
        baselines=(),
        trials=(),
        failures=failures_of(results),
        damaged=tuple(results.damaged.values()),
        cost=total_cost_of(results),
        provenance=provenance_of(results),
    )


def _described(design: Design, results: Results, aucs: Aucs, *, min_cell: int) -> dict[str, Any]:
    """Findings that compare nothing: how far trials got, what they scored, cost and came from."""
    return {
        "completeness": completeness_of(design, results),
        "supervisions": supervision_scores(design, results, aucs, min_cell=min_cell),
        "places": place_scores(design, results, aucs, min_cell=min_cell),
        "arms": arm_scores(design, results, aucs, min_cell=min_cell),
        "saturation": saturation_rows(design, results),
        "training": arm_training(design, results),
        "probes": arm_probes(design, results),
        "baselines": baseline_scores(design, results, aucs, min_cell=min_cell),
        "comparators": comparator_differences(design, results, aucs),
        "trials": trial_rows(design, results, aucs, min_cell=min_cell),
        "failures": failures_of(results),
        "damaged": tuple(results.damaged.values()),
        "cost": total_cost_of(results),
        "provenance": provenance_of(results),
    }


def _weights_of(
    primary: ContrastFindings | None, study: Study, cells: Mapping[str, Sequence[Cell]]
) -> dict[str, float]:
    """Of the trials in the primary contrast's pooled difference; none without a complete cell."""
    if primary is None:
        return {}
    complete = {cell.cell_id for cell in primary.cells}
    contrast = study.contrasts[primary.name]
    matched = [difference_in(cell, contrast) for cell in cells[primary.name] if cell.cell_id in complete]
    return mean_of(matched) if matched else {}
