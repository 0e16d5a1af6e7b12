"""What a reader must know before reading any number, and that forbids no verdict."""

from collections.abc import Mapping, Sequence

from orchestrator.analysis.cells import Cell
from orchestrator.analysis.resampling.held_out import HeldOut
from orchestrator.analysis.results import MIXED, Results
from orchestrator.design.grid import Design
from orchestrator.study.study import Study

# Below this many events the standard error of one AUC exceeds about 0.02. Source: protocol, section 3.2.
ENOUGH_EVENTS = 200


def warnings_of(
    study: Study, design: Design, results: Results, held_out: HeldOut | None, cells: Mapping[str, Sequence[Cell]]
) -> tuple[str, ...]:
    """What a reader must know before reading any number."""
    warnings = [
        f"The contrast {name} matches no cell of the design: its trials differ in more than its axis and its `where`."
        for name, matched in cells.items()
        if not matched
    ]
    if vouched := study.cohort.known_at_index:
        warnings.append(
            f"The study vouches that these inputs were known at the index: {', '.join(sorted(vouched))}. They may "
            "nearly tell the outcome by themselves; if they became known later, no score is worth anything."
        )
    if held_out is not None and held_out.label.sum() < ENOUGH_EVENTS:
        warnings.append(
            f"The test set holds fewer than {ENOUGH_EVENTS} events: only large differences can be seen in it."
        )
    if n_shortened := _n_shortened(results, cells):
        warnings.append(
            f"In {n_shortened} compared cells a rationale trial had fewer training examples than its labels-only "
            "partner, because its teacher left rationales out: more than the target text differs there."
        )
    if n_mixed := sum(MIXED in results.unscored(cell.members).values() for found in cells.values() for cell in found):
        warnings.append(
            f"{n_mixed} cells are not compared, for their trials were computed with different software; to have them, "
            "delete the outcome.json of those with the older one and run again."
        )
    unscored = sum(results.standing(trial.trial_id) not in ("scored", "spared") for trial in design.everything)
    if unscored:
        warnings.append(f"{unscored} of {len(design.everything)} planned trials have no scores.")
    if results.damaged:
        warnings.append(
            f"Committed trials left out because their stored predictions are damaged: {len(results.damaged)}; "
            "to run them anew, delete the outcome.json of each (listed under completeness and failures) and run again."
        )
    return tuple(warnings)


def _n_shortened(results: Results, cells: Mapping[str, Sequence[Cell]]) -> int:
    """Cells of any contrast in which a member dropped training examples for want of a rationale."""
    dropped = {trial_id for trial_id, outcome in results.outcomes.items() if outcome.cost.n_examples_dropped > 0}
    shortened = {
        frozenset(members)
        for matched in cells.values()
        for cell in matched
        if dropped & (members := set(cell.members.values()))
    }
    return len(shortened)
