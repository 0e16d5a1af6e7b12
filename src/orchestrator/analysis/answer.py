"""The answer to the study's question as one plain paragraph, its direction decided by the intervals alone.

The intervals are those of the widest layer of uncertainty that the design supports. Where the difference depends on an
axis of the design, where it holds comes first, and the pooled difference is called what it then is.
"""

from collections.abc import Sequence

from orchestrator.analysis.checks.equivalence import Equivalence
from orchestrator.analysis.checks.verdict import Verdict
from orchestrator.analysis.contrasts import ContrastFindings
from orchestrator.analysis.resampling.bootstrap import Estimate
from orchestrator.analysis.uncertainty.heterogeneity import AxisInteraction
from orchestrator.analysis.uncertainty.layers import DRAWN_ANEW, PARTICIPANTS, THESE_MODELS, Layer
from orchestrator.analysis.wording import listed
from workers.contract.recipes.scorings import Scoring

RANKED = {-1: "worse than", 1: "better than"}
SUMMED_UP = {-1: "worse", 0: "no difference shown", 1: "better"}


def phrase_answer(primary: ContrastFindings | None, verdict: Verdict, equal: Equivalence | None = None) -> str:
    """Say what the primary contrast (the first declared) shows, or why nothing may be concluded from it."""
    if primary is None:
        return "No verdict: the study declares no contrast."
    if primary[Scoring.STRICT] is None:
        return "No verdict: no matched cell has scores for everything that the primary contrast compares."
    layer = primary.widest
    if not verdict.allowed:
        objections = numbered(verdict.reasons)
        return (
            f"No verdict: a difference means nothing where a leak is not ruled out or trials are missing. {objections} "
            f"Measured, and not interpreted: {_pooled(primary, layer)}. {_scope(primary)}"
        )
    absent = _no_difference(verdict, equal) if _known(layer[Scoring.STRICT]).sign == 0 else ""
    parts = (_shown(primary, layer), absent, _beside(primary, layer), _scope(primary), _narrowest(primary))
    return " ".join(part for part in parts if part)


def in_few_words(primary: ContrastFindings | None, verdict: Verdict, equal: Equivalence | None = None) -> str:
    """The verdict alone, for a heading."""
    if primary is None or primary[Scoring.STRICT] is None or not verdict.allowed:
        return "No verdict"
    strict = _known(primary.widest[Scoring.STRICT])
    if depends := _axes(primary, differs=True):
        return f"Depends on {depends}; pooled {SUMMED_UP[strict.sign]} ({_signed(strict.value)})"
    if strict.sign == 0:
        return "No difference that matters" if verdict.none_allowed and equal and equal.holds else "No difference shown"
    return f"Ranked {SUMMED_UP[strict.sign]}: {_signed(strict.value)}"


def where_it_holds(primary: ContrastFindings | None, verdict: Verdict) -> str:
    """On which axes the difference was seen to depend, and how many of their levels show it; empty without any."""
    by_axis = primary.by_axis if primary and verdict.allowed else ()
    levels = [one.difference.sign for interaction in by_axis for one in interaction.levels]
    if primary is None or not levels:
        return ""
    not_seen = _axes(primary, differs=False)
    counts = f"worse at {levels.count(-1)}, better at {levels.count(1)}, neither at {levels.count(0)}"
    return f"{f'Not seen to depend on {not_seen}. ' if not_seen else ''}Of {len(levels)} levels, {counts}."


def _axes(contrast: ContrastFindings, *, differs: bool) -> str:
    """The axes on which the difference was seen to depend, or was not."""
    return listed([_words(interaction.axis) for interaction in contrast.by_axis if interaction.differs is differs])


def numbered(reasons: Sequence[str]) -> str:
    """`(1) One. (2) Another.`; a single one stands without a number."""
    return (
        f"{reasons[0]}."
        if len(reasons) == 1
        else " ".join(f"({i}) {reason}." for i, reason in enumerate(reasons, start=1))
    )


def _no_difference(verdict: Verdict, equal: Equivalence | None) -> str:
    """Whether the lack of a difference may be read as its absence."""
    if not verdict.none_allowed:
        return f"That there is none can't be said either: {numbered(verdict.none_reasons)}"
    return equal.statement if equal else ""


def _shown(contrast: ContrastFindings, layer: Layer) -> str:
    """The difference where it holds, then pooled; pooled alone where it was not seen to depend on anything."""
    strict, pooled = _known(layer[Scoring.STRICT]), f"{_pooled(contrast, layer)}, strict scoring"
    depends = [interaction for interaction in contrast.by_axis if interaction.differs]
    if not depends:
        return f"{_direction(contrast, strict)}: {pooled}."
    return (
        f"{_subject(contrast)}: the difference depends on {_axes(contrast, differs=True)}. "
        f"{' '.join(_along(interaction) for interaction in depends)} "
        "These intervals hold for all levels of all axes at once. "
        f"Pooled, an average over unlike cells: {pooled} ({SUMMED_UP[strict.sign]})."
    )


def _along(interaction: AxisInteraction) -> str:
    """At which levels of an axis the treatment ranked worse, better, or neither was shown."""
    by_sign: dict[int, list[str]] = {-1: [], 1: [], 0: []}
    for one in interaction.levels:
        by_sign[one.difference.sign].append(f"{one.level} ({_short(one.difference)})")
    words = {-1: "ranked participants worse at", 1: "ranked participants better at", 0: "no difference was shown at"}
    parts = [f"{words[sign]} {listed(levels)}" for sign, levels in by_sign.items() if levels]
    return f"By {_words(interaction.axis)}: {'; '.join(parts)}."


def _direction(contrast: ContrastFindings, estimate: Estimate) -> str:
    ranked = RANKED.get(estimate.sign)
    trained, treatment, reference, place = _parts(contrast)
    if ranked:
        return f"Models {trained} {treatment} ranked participants {ranked} those {trained} {reference}{place}"
    return f"No difference was shown between models {trained} {treatment} and {_again(trained)} {reference}{place}"


def _subject(contrast: ContrastFindings) -> str:
    trained, treatment, reference, place = _parts(contrast)
    return f"Models {trained} {treatment} against those {trained} {reference}{place}"


def _parts(contrast: ContrastFindings) -> tuple[str, str, str, str]:
    treatment = listed([str(value) for value in contrast.treatment])
    trained = "trained on" if contrast.axis == "supervision" else f"with {_words(contrast.axis)}"
    narrowed = listed([f"{axis} {listed([str(value) for value in values])}" for axis, values in contrast.where.items()])
    return trained, treatment, str(contrast.reference), f" (where {narrowed})" if narrowed else ""


def _again(trained: str) -> str:
    """`trained on a and on b`, `with base a and with base b`."""
    return trained.removeprefix("trained ")


def _beside(contrast: ContrastFindings, layer: Layer) -> str:
    """Forced scoring, and the sensitivity where trials failed; a change of direction is said."""
    parts = []
    has_failures = contrast.n_cells_sensitivity > contrast.n_complete
    for name, estimate in (
        ("With a forced answer", layer[Scoring.FORCED]),
        ("With failed trials at an AUC of 0.5", layer.sensitivity if has_failures else None),
    ):
        if estimate is not None:
            note = ", which changes the conclusion" if estimate.sign != _known(layer[Scoring.STRICT]).sign else ""
            parts.append(f"{name} the difference is {_interval(estimate)}{note}.")
    return " ".join(parts)


def _scope(contrast: ContrastFindings) -> str:
    """What the intervals cover, and why no more."""
    layer = contrast.widest
    beyond = [f"{DRAWN_ANEW[one.name]} ({one.reason})" for one in contrast.layers if one.reason]
    degrees = f", by t with {layer.degrees_of_freedom:.1f} degrees of freedom" if layer.degrees_of_freedom else ""
    *others, last = [*beyond, "other cohorts"]
    no_further = f"{', '.join(others)} or {last}" if others else last
    return f"The intervals cover {layer.covers}{degrees}, not {no_further}."


def _narrowest(contrast: ContrastFindings) -> str:
    """The interval of these trained models alone, beside a wider one."""
    if contrast.widest.name == PARTICIPANTS:
        return ""
    return f"For {THESE_MODELS.covers} it is {_interval(_known(contrast[Scoring.STRICT]))}."


def _words(axis: str) -> str:
    return axis.replace("_", " ")


def _pooled(contrast: ContrastFindings, layer: Layer) -> str:
    cells = f"{contrast.n_complete} of {contrast.n_cells} matched cells"
    return f"mean difference in ROC-AUC {_interval(_known(layer[Scoring.STRICT]))} over {cells}"


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{_signed(estimate.value)} (no interval: too few events)"
    return f"{_signed(estimate.value)} (95 % interval {_signed(estimate.low)} to {_signed(estimate.high)})"


def _short(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{_signed(estimate.value)}, no interval"
    return f"{_signed(estimate.value)}, {_signed(estimate.low)} to {_signed(estimate.high)}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _known(estimate: Estimate | None) -> Estimate:
    assert estimate is not None  # phrase_answer has returned before, where it is
    return estimate
