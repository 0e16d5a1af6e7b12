"""Writes the report: one HTML file that needs no network and no other file, and says all without its script.

It computes nothing: every number comes from the findings, every setting from the design.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from orchestrator.analysis import wording
from orchestrator.analysis.answer import in_few_words, where_it_holds
from orchestrator.analysis.findings import Findings
from orchestrator.analysis.tables.scores import ALL_SIZES
from orchestrator.analysis.uncertainty.layers import DRAWN_ANEW
from orchestrator.audit.measures import AuditNote
from orchestrator.design.grid import Design
from orchestrator.report import tables
from orchestrator.report.figures.every import draw_every
from orchestrator.report.flow import FlowView, view_flow
from orchestrator.report.settings import varied, view_design
from orchestrator.report.suppression import shown_counts
from orchestrator.store.derived import sealed_page
from orchestrator.study.study import Study
from workers.contract.inputs import ProofFigures
from workers.contract.recipes.scorings import ALWAYS_SCORED, SCORINGS
from workers.contract.system.durable import replace_file
from workers.contract.system.visible import visible

QUOTED = re.compile("`([^`]+)`")
HEADING = re.compile(r'<h2 id="([^"]+)">([^<]+)</h2>')
NO_COUNTS: Mapping[str, object] = MappingProxyType({})
NO_PROOFS: Mapping[str, ProofFigures] = MappingProxyType({})


def write_report(
    study: Study,
    design: Design,
    findings: Findings,
    *,
    path: Path,
    cohort_counts: Mapping[str, object] = NO_COUNTS,
    proofs: Mapping[str, ProofFigures] = NO_PROOFS,
    audit: AuditNote | None = None,
) -> Path:
    """Write the page to `path`, all of it or nothing, and return the path.

    Args:
        cohort_counts: `counts` of the cohort's manifest, the flow of participants; small ones are hidden, and what
            they would follow from.
        proofs: Of each base that has one, by its name.
        audit: What became of the rationale audit, where the study has one.

    Raises:
        OSError: The folder of `path` can't be written.
    """
    html = render_report(study, design, findings, cohort_counts=cohort_counts, proofs=proofs, audit=audit)
    replace_file(path, sealed_page(html))
    return path


def render_report(
    study: Study,
    design: Design,
    findings: Findings,
    *,
    cohort_counts: Mapping[str, object] = NO_COUNTS,
    proofs: Mapping[str, ProofFigures] = NO_PROOFS,
    audit: AuditNote | None = None,
) -> str:
    """The page as text; the same arguments give the same page."""
    further, primary = tables.shown_further(findings), next(iter(findings.contrasts), None)
    return (
        _environment()
        .get_template("page.html")
        .render(
            study=study,
            design=view_design(design),
            findings=findings,
            flow=flow_of(cohort_counts, findings, min_cell=study.cohort.min_cell),
            figures=draw_every(findings),
            words=in_few_words(primary, findings.verdict, findings.equivalence),
            holds=where_it_holds(primary, findings.verdict),
            audit=audit,
            proofs=proofs,
            ways=wording.ROWS_TOGETHER,
            longest_table=tables.LONGEST_TABLE,
            all_sizes=ALL_SIZES,
            scorings=(*ALWAYS_SCORED, *further),
            further=further,
            readings=SCORINGS,
            layer_words=DRAWN_ANEW,
            protocols=tables.protocols_of(findings),
            by_base=tables.pivot_places(findings.places, at_each_size=False),
            by_place=tables.pivot_places(findings.places, at_each_size=True),
            arm_tables=tables.arm_tables(findings.arms),
            cosines=tables.cosine_table(findings.probes),
        )
    )


@cache
def _environment() -> Environment:
    """One a process: to compile the templates takes as long as all the rest of a page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_quoting_code,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": wording.number,
        "signed": wording.signed,
        "interval": wording.interval,
        "percentage": wording.percentage,
        "share": wording.share,
        "p_value": wording.p_value,
        "duration": wording.duration,
        "level": wording.level,
        "place": wording.place,
        "varied": varied,
        "headings": HEADING.findall,
        "axes_of": tables.axes_of,
        "group_grid": tables.group_grid,
    }
    return environment


def _quoting_code(value: object) -> object:
    """What a message quotes in backticks is code on the page; what would turn a line is shown, as on a terminal."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    value = visible(value)
    return Markup(QUOTED.sub(r"<code>\1</code>", str(escape(value)))) if "`" in value else value


def flow_of(counts: Mapping[str, object], findings: Findings, *, min_cell: int) -> FlowView:
    """The cohort's flow; what the page says of the test set elsewhere can't be taken back here."""
    test_set = findings.held_out or ()
    published = {f"held_out_{name}" for name, count in test_set if count.value is not None}
    return view_flow(shown_counts(counts, min_cell=min_cell, published=published))
