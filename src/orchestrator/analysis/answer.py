"""The answer to the study's question as one plain paragraph, its direction decided by the intervals alone."""

from collections.abc import Sequence

from orchestrator.analysis.bootstrap import Estimate
from orchestrator.analysis.checks.equivalence import Equivalence
from orchestrator.analysis.contrasts import ContrastFindings
from orchestrator.analysis.learning import Verdict
from workers.contract.recipes.scorings import Scoring

SHARED_TEST_SET = (
    "All cells, seeds included, share one test set: the interval covers the choice of its participants, "
    "not the choice of seeds, bases or cohorts."
)


def phrase_answer(primary: ContrastFindings | None, verdict: Verdict, equal: Equivalence | None = None) -> str:
    """Say what the primary contrast (the first declared) shows, or why nothing may be concluded from it."""
    if primary is None:
        return "No verdict: the study declares no contrast."
    if (strict := primary[Scoring.STRICT]) is None:
        return "No verdict: no matched cell has scores for everything that the primary contrast compares."
    if not verdict.allowed:
        objections = numbered(verdict.reasons)
        return (
            f"No verdict: a difference means nothing where a leak is not ruled out. {objections} "
            f"Measured, and not interpreted: {_size(strict)} over {_cells(primary)}."
        )
    return " ".join(
        part
        for part in (
            f"{_direction(primary)}: {_size(strict)} over {_cells(primary)}, strict scoring.",
            _no_difference(verdict, equal) if sign(strict) == 0 else "",
            _beside(primary),
            SHARED_TEST_SET,
        )
        if part
    )


def numbered(reasons: Sequence[str]) -> str:
    """`(1) One. (2) Another.`"""
    return " ".join(f"({i}) {reason}." for i, reason in enumerate(reasons, start=1))


def _no_difference(verdict: Verdict, equal: Equivalence | None) -> str:
    """Whether the lack of a difference may be read as its absence."""
    if not verdict.none_allowed:
        return f"That there is none can't be said either: {numbered(verdict.none_reasons)}"
    return equal.statement if equal else ""


def sign(estimate: Estimate) -> int:
    """-1 or 1 where the whole interval lies on that side of 0, else 0."""
    if estimate.high is not None and estimate.high < 0:
        return -1
    return 1 if estimate.low is not None and estimate.low > 0 else 0


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def _direction(contrast: ContrastFindings) -> str:
    treatment = listed([str(value) for value in contrast.treatment])
    reference = str(contrast.reference)
    trained = "trained on" if contrast.axis == "supervision" else f"with {contrast.axis.replace('_', ' ')}"
    narrowed = listed([f"{axis} {listed([str(value) for value in values])}" for axis, values in contrast.where.items()])
    place = f" (where {narrowed})" if narrowed else ""
    ranked = {-1: "worse than", 1: "better than"}.get(sign(_known(contrast[Scoring.STRICT])))
    if ranked:
        return f"Models {trained} {treatment} ranked participants {ranked} those {trained} {reference}{place}"
    return f"No difference was shown between models {trained} {treatment} and {_again(trained)} {reference}{place}"


def _again(trained: str) -> str:
    """`trained on a and on b`, `with base a and with base b`."""
    return trained.removeprefix("trained ")


def _beside(contrast: ContrastFindings) -> str:
    """Forced scoring, and the sensitivity where trials failed; a change of direction is said."""
    parts = []
    has_failures = contrast.n_cells_sensitivity > contrast.n_complete
    for name, estimate in (
        ("With a forced answer", contrast[Scoring.FORCED]),
        ("With failed trials at an AUC of 0.5", contrast.sensitivity if has_failures else None),
    ):
        if estimate is not None:
            changes = sign(estimate) != sign(_known(contrast[Scoring.STRICT]))
            note = ", which changes the conclusion" if changes else ""
            parts.append(f"{name} the difference is {_interval(estimate)}{note}.")
    return " ".join(parts)


def _cells(contrast: ContrastFindings) -> str:
    return f"{contrast.n_complete} of {contrast.n_cells} matched cells"


def _size(estimate: Estimate) -> str:
    return f"mean difference in ROC-AUC {_interval(estimate)}"


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{_signed(estimate.value)} (no interval: too few events)"
    return f"{_signed(estimate.value)} (95 % interval {_signed(estimate.low)} to {_signed(estimate.high)})"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _known(estimate: Estimate | None) -> Estimate:
    assert estimate is not None  # phrase_answer has returned before, where it is
    return estimate
