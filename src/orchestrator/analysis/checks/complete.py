"""Whether what was planned is there: cells without scores and why, levels that are gone, and a test by arm.

What is missing can't be seen in a mean over the rest, so too little of a plan allows no verdict. How much is enough is
the study's to declare, and its usual share is ours.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import scipy

from orchestrator.analysis.cells import Cell
from orchestrator.analysis.checks.check import Check, not_run
from orchestrator.analysis.checks.leak import pairs_among
from orchestrator.analysis.results import Results, Standing
from orchestrator.analysis.wording import level, listed
from orchestrator.design.grid import Design
from orchestrator.study.study import Checks
from workers.contract.outcome import Record
from workers.contract.trial import AxisValue

NAME = "What was planned is there"
LEAK_CONTROLS = "pairs of permuted labels with their mirror image and untrained base"
# Of more than two arms, so many tables with the same margins are drawn, always the same ones.
N_TABLES = 9_999
UNEVEN_AT = 0.05


class UnscoredTrials(Record):
    """Planned trials of one arm of a contrast that have no scores for one reason."""

    arm: str
    standing: Standing
    n_trials: int


class Coverage(Record):
    """How much of a contrast's plan is there; `absent` are levels of an axis at which no cell is complete.

    `p_value` is that of Fisher's exact test of whether what is missing depends on the arm, over planned trials; where
    it is null, `untested` says why.
    """

    of: str
    n_cells: int
    n_complete: int
    unscored: tuple[UnscoredTrials, ...]
    absent: dict[str, tuple[AxisValue, ...]]
    p_value: float | None = None
    untested: str | None = None

    @property
    def is_uneven(self) -> bool:
        """Whether arms differ in what is missing by more than chance explains."""
        return self.p_value is not None and self.p_value < UNEVEN_AT

    def is_enough(self, share: float) -> bool:
        """Whether so many of the cells are complete, and every level among them."""
        return self.n_complete >= share * self.n_cells and not self.absent


def coverage(of: str, cells: Sequence[Cell], results: Results) -> Coverage:
    """Count what is planned and what is there, over distinct trials and over cells."""
    arms = {(str(value), trial_id) for cell in cells for value, trial_id in cell.members.items()}
    standings = Counter((arm, results.standing(trial_id)) for arm, trial_id in sorted(arms))
    complete = [cell for cell in cells if not results.unscored(cell.members)]
    planned_levels, levels = _levels(cells), _levels(complete)
    absent = {
        axis: [one for one in values if one not in levels.get(axis, {})] for axis, values in planned_levels.items()
    }
    p_value = _p_value(standings)
    return Coverage(
        of=of,
        n_cells=len(cells),
        n_complete=len(complete),
        unscored=tuple(
            UnscoredTrials(arm=arm, standing=standing, n_trials=n)
            for (arm, standing), n in standings.items()
            if standing != "scored"
        ),
        absent={axis: tuple(values) for axis, values in absent.items() if values},
        p_value=p_value if isinstance(p_value, float) else None,
        untested=p_value if isinstance(p_value, str) else None,
    )


def completeness_check(primary: Coverage | None, design: Design, results: Results, *, asked: Checks) -> Check:
    """The primary contrast's cells, and the controls by which a leak is ruled out."""
    requirement = (
        f"at least {asked.complete:.0%} of the matched cells of the primary contrast, every level of each axis among "
        "them, and as much of the controls that rule out a leak"
    )
    if primary is None or not primary.n_cells:
        return not_run(NAME, requirement, "no primary contrast that matches a cell", of="completeness")
    controls = coverage(LEAK_CONTROLS, _leak_cells(design), results)
    parts = [_told(primary, f"matched cells of {primary.of}")]
    parts += [_told(controls, LEAK_CONTROLS)] if controls.n_cells else []
    is_enough = all(one.is_enough(asked.complete) for one in (primary, controls))
    statement = "; ".join(parts)
    if not is_enough and asked.missing_accepted:
        statement += f"; accepted by the study: {asked.missing_accepted}"
    passed = is_enough or asked.missing_accepted is not None
    return Check(
        name=NAME, requirement=requirement, passed=passed, estimate=None, statement=statement, of="completeness"
    )


def missing_warnings(covered: Sequence[Coverage], *, asked: Checks) -> list[str]:
    """Arms that lack more trials than others, and a verdict that the study allows all the same."""
    warnings = [
        f"Trials without scores are spread unevenly over the arms of {one.of} (Fisher's exact test, p = "
        f"{one.p_value:.3f}): what is compared may differ in what is missing."
        for one in covered
        if one.is_uneven
    ]
    if asked.missing_accepted and covered and not covered[0].is_enough(asked.complete):
        warnings.append(f"The study allows a verdict though planned trials are missing: {asked.missing_accepted}")
    return warnings


def _leak_cells(design: Design) -> list[Cell]:
    names = {"permuted": "permuted", "mirrored": "mirrored", "base": "untrained"}
    return [
        Cell(
            cell_id=pair.permuted,
            coordinates={
                axis: value for axis, value in design.by_id[pair.permuted].coordinates.items() if axis != "control"
            },
            members={name: getattr(pair, part) for part, name in names.items()},
        )
        for pair in pairs_among(design.controls)
    ]


def _levels(cells: Sequence[Cell]) -> dict[str, dict[AxisValue, None]]:
    """Every value of every axis, each once, in their order."""
    levels: dict[str, dict[AxisValue, None]] = {}
    for cell in cells:
        for axis, value in cell.coordinates.items():
            levels.setdefault(axis, {})[value] = None
    return levels


def _p_value(standings: Mapping[tuple[str, Standing], int]) -> float | str:
    """Of Fisher's exact test over arms and whether trials are scored; or why there is none."""
    arms = dict.fromkeys(arm for arm, _ in standings)
    table = np.array([[_n(standings, arm, scored=True), _n(standings, arm, scored=False)] for arm in arms])
    if len(arms) < 2:
        return "there is one arm"
    scored, unscored = table.sum(axis=0)
    if not unscored or not scored:
        return "no planned trial lacks scores" if scored else "no planned trial has scores"
    if len(arms) == 2:
        return float(scipy.stats.fisher_exact(table).pvalue)
    by_chance = scipy.stats.multivariate_hypergeom(table.sum(axis=1), unscored)
    drawn, observed = (by_chance.logpmf(one) for one in (by_chance.rvs(N_TABLES, random_state=0), table[:, 1]))
    # Tables as unlikely as the observed one count, whatever rounding does.
    return float((1 + np.count_nonzero(drawn <= observed + 1e-9)) / (1 + N_TABLES))


def _n(standings: Mapping[tuple[str, Standing], int], arm: str, *, scored: bool) -> int:
    return sum(n for (one, standing), n in standings.items() if one == arm and (standing == "scored") is scored)


def _told(found: Coverage, of: str) -> str:
    """`3 of 4 matched cells of a_vs_b (free_form: 1 failed), none at train size 640`."""
    why = ", ".join(f"{one.arm}: {one.n_trials} {one.standing}" for one in found.unscored)
    absent = [f"{axis.replace('_', ' ')} {listed(list(map(level, values)))}" for axis, values in found.absent.items()]
    none_at = f", none at {listed(absent)}" if absent else ""
    return f"{found.n_complete} of {found.n_cells} {of} are there{f' ({why})' if why else ''}{none_at}"
