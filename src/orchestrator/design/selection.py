"""Which of the missing trials a launch takes: all of them, or those that the command line narrows it to.

Pure: the names are checked against a design, the choice is made from a plan. What is left out stays missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.design.grid import Design
from orchestrator.design.plan import Plan, PlannedTrial
from workers.contract.errors import InputError, Problem
from workers.contract.outcome import FailureKind, TrialState
from workers.contract.trial import AxisValue

# Of the values of an axis, those that a message names.
MAX_NAMED = 12


@dataclass(frozen=True)
class Selection:
    """A narrowing of what is missing; without one, everything is taken.

    only: Values by axis, as they were typed; a trial has one of them on each of these axes.
    limit: At most so many trials, the first in the order of the design.
    """

    only_failed: bool = False
    kind: FailureKind | None = None
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limit: int | None = None


def parse_selection(
    *, only_failed: bool = False, kind: str | None = None, only: Sequence[str] = (), limit: int | None = None
) -> Selection:
    """Read the options of the command line; a class of failure implies `only_failed`.

    Raises:
        InputError: An option is not `axis=value`, or names no class of failure; with all problems.
    """
    problems = []
    values: dict[str, tuple[str, ...]] = {}
    for text in only:
        axis, equals, value = (part.strip() for part in text.partition("="))
        if axis and equals and value:
            values[axis] = (*values.get(axis, ()), value)
        else:
            problems.append(Problem("--only", f"`{text}` is no axis=value", "write for example `--only seed=11`"))
    kinds = {known.value: known for known in FailureKind}
    if kind is not None and kind not in kinds:
        problems.append(Problem("--class", f"`{kind}` is no class of failure", f"take one of {', '.join(kinds)}"))
    if problems:
        raise InputError(*problems)
    return Selection(only_failed or kind is not None, kinds[kind] if kind else None, values, limit)


def check_names(selection: Selection, design: Design) -> None:
    """See that every axis and value is one of the design's.

    Raises:
        InputError: One is not; with all problems and the known names.
    """
    known: dict[str, dict[str, AxisValue]] = {}
    for trial in design.everything:
        for axis, value in trial.coordinates.items():
            known.setdefault(axis, {})[str(value)] = value
    problems = []
    for axis, texts in selection.only.items():
        if axis not in known:
            problems.append(Problem("--only", f"`{axis}` is no axis of this study", f"take one of {_named(known)}"))
            continue
        for text in texts:
            if not any(_is_spelled(value, text) for value in known[axis].values()):
                what = f"{axis} has no value `{text}`"
                problems.append(Problem("--only", what, f"take one of {_named(known[axis])}"))
    if problems:
        raise InputError(*problems)


def choose(plan: Plan, selection: Selection) -> tuple[PlannedTrial, ...]:
    """The missing trials that a launch takes, in the order of the design."""
    chosen = [planned for planned in plan.todo if _is_chosen(planned, selection)]
    return tuple(chosen[: selection.limit])


def left_out_line(plan: Plan, chosen: Sequence[PlannedTrial]) -> str:
    """What a narrowing leaves out; empty where it leaves out nothing."""
    n_missing = len(plan.todo)
    if len(chosen) == n_missing:
        return ""
    return f"narrowed to {len(chosen)} of {n_missing} missing trials; {n_missing - len(chosen)} stay missing"


def _is_chosen(planned: PlannedTrial, selection: Selection) -> bool:
    if selection.only_failed and planned.state is not TrialState.RETRY:
        return False
    if selection.kind is not None and planned.failure is not selection.kind:
        return False
    held = planned.trial.coordinates
    return all(
        axis in held and any(_is_spelled(held[axis], text) for text in of) for axis, of in selection.only.items()
    )


def _is_spelled(value: AxisValue, text: str) -> bool:
    """Whether this text means this value; 1e-3 and 0.001 mean the same."""
    if isinstance(value, str):
        return value == text
    try:
        return float(text) == value
    except ValueError:
        return False


def _named(names: Mapping[str, object]) -> str:
    shown = list(names)[:MAX_NAMED]
    return ", ".join(shown) + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")
