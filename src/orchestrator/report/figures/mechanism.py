"""The mechanism: what each arm scores, how much of its training the answer gets, whether gradients pull apart."""

from collections import Counter
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from orchestrator.analysis.findings import Findings
from orchestrator.analysis.resampling.bootstrap import Estimate
from orchestrator.analysis.tables.arms import ArmTraining
from orchestrator.analysis.tables.scores import ALL_SIZES
from orchestrator.analysis.wording import level
from orchestrator.report.figures.drawing import (
    MEAN,
    OTHER,
    RULE,
    STYLES,
    Drawing,
    Stroke,
    as_svg,
    bare,
    bounds,
    draw_interval,
    drawn,
    name_ticks,
)
from orchestrator.report.figures.references import CHANCE
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import AxisValue

ROW_INCHES = 0.26
SHARES = {"of tokens": "label_token_share", "of loss": "label_loss_share", "of gradient": "label_gradient_share"}
SHARE_STYLES = (OTHER, STYLES["step_by_step"], STYLES["free_form"])
COSINE, PROBED = "cos_direct_rationale", "tuning"
COLUMNS = ("arm", "trials", "auc", "low", "high", *SHARES.values(), COSINE)
Place = frozenset[tuple[str, AxisValue]]


def mechanism_figure(findings: Findings) -> Drawing | None:
    """A row an arm that trained; null where no share of the label in loss or gradient was measured."""
    arms = findings.training
    if not any(arm.label_loss_share is not None or arm.label_gradient_share is not None for arm in arms):
        return None
    names, aucs, cosines = _names(arms), _aucs(findings), _cosines(findings)
    with drawn(ROW_INCHES * (len(arms) + 4)) as figure:
        panels: list[Axes] = list(figure.subplots(1, 2 + bool(cosines), sharey=True).flat)
        for y, arm in enumerate(arms):
            if (auc := aucs.get(_place(arm))) is not None:
                draw_interval(panels[0], auc, y)
                panels[0].plot([auc.value], [y], color=MEAN, marker="s", markersize=4, zorder=3)
        panels[0].axvline(CHANCE, color=OTHER.colour, linewidth=1, dashes=(1, 2), zorder=1)
        panels[0].set_xlabel("ROC-AUC, strict")
        _draw_shares(panels[1], arms)
        if cosines:
            at = [(cosines[_place(arm)], y) for y, arm in enumerate(arms) if _place(arm) in cosines]
            _dots(panels[2], [x for x, _ in at], [y for _, y in at], STYLES["label_only"])
            panels[2].axvline(0, color=OTHER.colour, linewidth=1, zorder=1)
            panels[2].set_xlabel("gradient cosine at the end")
        name_ticks(panels[0], range(len(arms)), names)
        panels[0].set_ylim(len(arms) - 0.4, -0.6)
        for axes in panels:
            axes.grid(axis="x", color=RULE, linewidth=0.8)
            bare(axes)
        svg = as_svg(figure)
    told = (
        (
            name,
            arm.n_trials,
            *(bounds(auc) if (auc := aucs.get(_place(arm))) else (None, None, None)),
            *(getattr(arm, field) for field in SHARES.values()),
            cosines.get(_place(arm)),
        )
        for name, arm in zip(names, arms, strict=True)
    )
    return Drawing(svg, COLUMNS, tuple(told))


def _draw_shares(axes: Axes, arms: Sequence[ArmTraining]) -> None:
    for (name, field), style in zip(SHARES.items(), SHARE_STYLES, strict=True):
        at = [(share, y) for y, arm in enumerate(arms) if (share := getattr(arm, field)) is not None]
        _dots(axes, [x for x, _ in at], [y for _, y in at], style, label=name)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("share of the label token")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, fontsize=8.5, ncols=3, handletextpad=0)


def _dots(axes: Axes, x: Sequence[float], y: Sequence[float], style: Stroke, *, label: str | None = None) -> None:
    axes.plot(x, y, color=style.colour, marker=style.marker, markersize=5, linewidth=0, label=label, zorder=3)


def _names(arms: Sequence[ArmTraining]) -> list[str]:
    """Each by its supervision, and by what is not the most frequent value of an axis."""
    values: dict[str, Counter[AxisValue]] = {}
    for arm in arms:
        for axis, value in arm.coordinates.items():
            values.setdefault(axis, Counter())[value] += 1
    usual = {axis: counts.most_common(1)[0][0] for axis, counts in values.items()}
    return [
        ", ".join(
            level(value) for axis, value in arm.coordinates.items() if axis == "supervision" or value != usual[axis]
        )
        for arm in arms
    ]


def _place(arm: ArmTraining) -> Place:
    return frozenset(arm.coordinates.items())


def _aucs(findings: Findings) -> Mapping[Place, Estimate]:
    """By arm; by supervision where nothing else tells arms apart."""
    rows = [(frozenset(arm.coordinates.items()), arm[Scoring.STRICT]) for arm in findings.arms] or [
        (frozenset({("supervision", row.supervision.value)}), row[Scoring.STRICT])
        for row in findings.supervisions
        if row.train_size == ALL_SIZES
    ]
    return {place: strict for place, strict in rows if strict}


def _cosines(findings: Findings) -> Mapping[Place, float]:
    """Of the direct answer's gradient with the rationale's, on tuning, where an arm was measured last."""
    probes = [probe for probe in findings.probes if COSINE in probe.values and probe.split == PROBED]
    return {
        frozenset(probe.coordinates.items()): probe.values[COSINE]
        for probe in sorted(probes, key=lambda probe: probe.fraction)
    }
