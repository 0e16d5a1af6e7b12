"""Every figure of the page by its name; null where the findings do not hold what it shows."""

from collections.abc import Mapping

from orchestrator.analysis.findings import Findings
from orchestrator.report.figures.cost import cost_figure
from orchestrator.report.figures.curves import curves_figure
from orchestrator.report.figures.drawing import Drawing
from orchestrator.report.figures.few_shot import few_shot_figure
from orchestrator.report.figures.forest import forest_plot, further_forests, headline_row
from orchestrator.report.figures.heat_map import heat_map
from orchestrator.report.figures.mechanism import mechanism_figure
from orchestrator.report.figures.parts import parts_figure
from orchestrator.report.figures.scores import auc_figure
from orchestrator.report.figures.train_size import train_size_figure


def draw_every(findings: Findings) -> Mapping[str, Drawing | None]:
    """Those of the primary contrast first."""
    primary = next(iter(findings.contrasts), None)
    margin = findings.equivalence.margin if findings.equivalence else None
    return {
        "headline": headline_row(primary, margin=margin) if primary else None,
        "forest": forest_plot(primary, findings.comparators) if primary else None,
        "further": further_forests(findings.contrasts[1:]),
        "heat-map": heat_map(primary) if primary else None,
        "scores": auc_figure(findings),
        "train-size": train_size_figure(findings),
        "curves": curves_figure(findings),
        "few-shot": few_shot_figure(findings),
        "mechanism": mechanism_figure(findings),
        "cost": cost_figure(findings),
        "parts": parts_figure(findings),
    }
