"""The page's figures: what is drawn are the findings' own numbers, and the same are in its CSV."""

import base64
import csv
import io
import re

from orchestrator.analysis.bootstrap import Estimate
from orchestrator.analysis.contrasts import ContrastFindings, GroupDifference
from orchestrator.analysis.uncertainty.heterogeneity import AxisInteraction, LevelDifference
from orchestrator.analysis.uncertainty.layers import BASES, PARTICIPANTS, Layer
from orchestrator.report.figures.drawing import Drawing
from orchestrator.report.figures.forest import forest_plot
from orchestrator.report.figures.heat_map import heat_map
from support.stores.estimates import with_estimate
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import AxisValue

HOSTILE = "a$\\frac{$ <b>&"


def about(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.02, high=value + 0.02)


def contrast(bases: tuple[str, ...], sizes: tuple[AxisValue, ...]) -> ContrastFindings:
    """A difference of -0.01 at the first place, -0.02 at the next, and so on."""
    places = [{"base": base, "train_size": size} for base in bases for size in sizes]
    groups = [
        with_estimate(GroupDifference(coordinates=place, n_cells=3), Scoring.STRICT, value=-n / 100, low=-1, high=1)
        for n, place in enumerate(places, 1)
    ]
    levels = tuple(
        LevelDifference(level=base, n_cells=6, difference=about(-n / 10), deviation=about(0))
        for n, base in enumerate(bases, 1)
    )
    layers = [
        with_estimate(Layer(name=name, covers=name), Scoring.STRICT, value=-0.05, low=-0.05 - wide, high=wide - 0.05)
        for name, wide in ((PARTICIPANTS, 0.01), (BASES, 0.02))
    ]
    return ContrastFindings(
        name="rationale_vs_label",
        axis="supervision",
        where={},
        treatment=("free_form",),
        reference="label_only",
        n_cells=len(places),
        share_below=None,
        sensitivity=None,
        n_cells_sensitivity=0,
        groups=tuple(groups),
        cells=(),
        incomplete=(),
        layers=tuple(layers),
        by_axis=(AxisInteraction(axis="base", layer=PARTICIPANTS, differs=False, levels=levels),),
    )


def told(drawing: Drawing | None) -> list[dict[str, str]]:
    """The rows of its CSV."""
    assert drawing is not None
    text = base64.b64decode(drawing.csv_address.partition(",")[2]).decode()
    return list(csv.DictReader(io.StringIO(text)))


def test_the_forest_holds_every_layer_and_level_and_marks_the_headline_once() -> None:
    drawing = forest_plot(contrast(("llama", "qwen"), (64, 128)))
    assert [(row["of"], float(row["difference"])) for row in told(drawing)] == [
        ("all cells", -0.05),
        ("all cells", -0.05),
        ("by base", -0.1),
        ("by base", -0.2),
    ]
    assert drawing is not None
    assert drawing.svg.count("font-weight: 700") + drawing.svg.count("bold") == 3  # two heads and the headline
    assert "−0.050  (−0.070 to −0.030)" in re.sub("&#8722;", "−", str(drawing.svg))


def test_names_are_drawn_as_they_are_and_are_no_markup() -> None:
    for drawing in (forest_plot(contrast((HOSTILE, "b"), (64, 128))), heat_map(contrast((HOSTILE, "b"), (64, 128)))):
        assert drawing is not None
        assert "a$\\frac{$ &lt;b&gt;&amp;" in drawing.svg
        assert HOSTILE in {value for row in told(drawing) for value in row.values()}


def test_two_figures_share_no_id() -> None:
    subject = contrast(("llama", "qwen"), (64, 128))
    forest, grid = forest_plot(subject), heat_map(subject)
    assert forest is not None and grid is not None
    ids = [set(re.findall(r'id="([^"]+)"', figure.svg)) for figure in (forest, grid)]
    assert not ids[0] & ids[1]


def test_the_heat_map_says_each_place_and_needs_two_of_each() -> None:
    drawing = heat_map(contrast(("llama", "qwen"), (64, 128)))
    assert [(row["base"], row["train_size"], row["difference"]) for row in told(drawing)] == [
        ("llama", "64", "-0.01"),
        ("llama", "128", "-0.02"),
        ("qwen", "64", "-0.03"),
        ("qwen", "128", "-0.04"),
    ]
    assert heat_map(contrast(("llama",), (64, 128))) is None
    assert heat_map(contrast(("llama", "qwen"), (64,))) is None


def test_nothing_scored_draws_nothing() -> None:
    bare = contrast(("llama", "qwen"), (64, 128)).model_copy(update={"layers": (), "by_axis": (), "groups": ()})
    assert forest_plot(bare) is None
    assert heat_map(bare) is None
