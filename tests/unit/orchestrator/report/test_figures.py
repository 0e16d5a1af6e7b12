"""The page's figures: what is drawn are the findings' own numbers, and the same are in its CSV."""

import base64
import csv
import io
import re
from typing import Any, TypeVar

import pytest

from orchestrator.analysis.contrasts import ContrastFindings, GroupDifference
from orchestrator.analysis.findings import Findings
from orchestrator.analysis.resampling.bootstrap import Estimate
from orchestrator.analysis.tables.arms import ArmProbe, ArmScore, ArmTraining
from orchestrator.analysis.tables.clinical.calibration import CurveBin
from orchestrator.analysis.tables.clinical.curves import Curves, RocPoint
from orchestrator.analysis.tables.parts import SpentTime
from orchestrator.analysis.tables.scores import ALL_SIZES, ComparatorDifference, SupervisionScore, TrialRow
from orchestrator.analysis.uncertainty.heterogeneity import AxisInteraction, LevelDifference
from orchestrator.analysis.uncertainty.layers import BASES, PARTICIPANTS, Layer
from orchestrator.disclosure import Share
from orchestrator.report.figures.cost import cost_figure
from orchestrator.report.figures.curves import curves_figure
from orchestrator.report.figures.drawing import CELL, OTHER, RULE, Drawing
from orchestrator.report.figures.every import draw_every
from orchestrator.report.figures.few_shot import few_shot_figure
from orchestrator.report.figures.forest import PANELS_PER_ROW, forest_plot, further_forests, headline_row
from orchestrator.report.figures.heat_map import heat_map
from orchestrator.report.figures.mechanism import mechanism_figure
from orchestrator.report.figures.parts import parts_figure
from orchestrator.report.figures.scores import MOST_LINES, auc_figure
from orchestrator.report.figures.train_size import train_size_figure
from support.stores.estimates import with_estimate
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import AxisValue, Method

Known = TypeVar("Known", bound=Record)
pytestmark = pytest.mark.drawn
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


def test_the_forest_holds_what_a_contrast_is_read_beside() -> None:
    head = only(ComparatorDifference, kind="zero_shot", train_size=576, n_trials=7, estimates={})
    drawing = forest_plot(
        contrast(("llama", "qwen"), (64, 128)), [with_estimate(head, Scoring.STRICT, value=-0.2, low=-0.3, high=-0.1)]
    )
    row = told(drawing)[-1]
    assert (row["of"], row["level"], row["n"], row["difference"]) == (
        "against label_only, 576", "untrained base", "7", "-0.2"
    )  # fmt: skip
    assert drawing is not None and drawing.svg.count(f"stroke: {OTHER.colour}") > 0


def test_further_contrasts_lie_side_by_side_each_pooled_once_with_its_own_levels() -> None:
    subjects = [
        contrast(("llama", "qwen") if n % 2 else ("phi", "qwen"), (64, 128)).model_copy(update={"name": f"of_{n}"})
        for n in range(PANELS_PER_ROW + 1)
    ]
    unscored = subjects[0].model_copy(update={"name": "unscored", "layers": (), "by_axis": ()})
    drawing = further_forests([*subjects, unscored])
    rows = told(drawing)
    assert [(row["contrast"], row["level"]) for row in rows[:6]] == [
        ("of_0", "pooled"), ("of_0", "phi"), ("of_0", "qwen"), ("of_1", "pooled"), ("of_1", "llama"), ("of_1", "qwen")
    ]  # fmt: skip
    assert (rows[0]["low"], rows[0]["high"]) == ("-0.07", "-0.030000000000000002")  # by the widest layer
    assert {row["contrast"] for row in rows} == {one.name for one in subjects}
    assert drawing is not None
    assert re.findall(">(llama|phi|qwen)<", drawing.svg) == ["phi", "qwen", "llama", "llama", "qwen"]  # once a strip
    assert further_forests([unscored]) is None and further_forests([]) is None


def test_names_are_drawn_as_they_are_and_are_no_markup() -> None:
    hostile = contrast((HOSTILE, "b"), (64, 128)).model_copy(update={"name": HOSTILE})
    for drawing in (forest_plot(hostile), further_forests([hostile]), heat_map(hostile)):
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


def only(record: type[Known], /, **known: object) -> Known:
    """A record of which a figure reads no more than this."""
    construct: Any = record.model_construct
    built: Known = construct(**known)
    return built


def scored(supervision: Supervision, size: AxisValue, *, value: float) -> SupervisionScore:
    row = only(SupervisionScore, supervision=supervision, train_size=size, n_scored=2, estimates={})
    return with_estimate(row, Scoring.STRICT, value=value, low=value - 0.02, high=value + 0.02)


def arm(auc: float, **coordinates: AxisValue) -> ArmScore:
    row = only(ArmScore, method=Method.FEW_SHOT, coordinates=coordinates, n_scored=1, estimates={})
    return with_estimate(row, Scoring.STRICT, value=auc, low=auc - 0.02, high=auc + 0.02)


def findings(**known: object) -> Findings:
    """What a figure reads; all else is empty."""
    return only(Findings, **dict.fromkeys(Findings.model_fields, ()) | {"equivalence": None} | known)


SIZED: tuple[AxisValue, ...] = (ALL_SIZES, 64, 128)
SIZES = tuple(
    scored(supervision, size, value=0.6 + n / 100)
    for supervision in (Supervision.LABEL_ONLY, Supervision.FREE_FORM)
    for n, size in enumerate(SIZED)
)


def test_the_scaling_curve_holds_each_size_and_needs_two() -> None:
    rows = told(train_size_figure(findings(supervisions=SIZES)))
    assert [(row["supervision"], row["train_size"], row["auc"]) for row in rows] == [
        ("label_only", "64", "0.61"),
        ("label_only", "128", "0.62"),
        ("free_form", "64", "0.61"),
        ("free_form", "128", "0.62"),
    ]
    assert train_size_figure(findings(supervisions=SIZES[:2])) is None


def test_curves_draw_and_tell_no_hidden_point() -> None:
    hidden, shown = Share(value=None, is_hidden=True), Share(value=0.5)
    one = Curves(
        of="label_only",
        train_size=64,
        n_trials=2,
        roc=(RocPoint(false_positives=0.1, sensitivity=hidden), RocPoint(false_positives=0.2, sensitivity=shown)),
        calibration=(CurveBin(predicted=None, observed=hidden), CurveBin(predicted=0.3, observed=shown)),
    )
    rows = told(curves_figure(findings(curves=(one,))))
    assert [(row["curve"], row["at"], row["share"]) for row in rows] == [
        ("roc", "0.1", "hidden"),
        ("roc", "0.2", "0.5"),
        ("calibration", "hidden", "hidden"),
        ("calibration", "0.3", "0.5"),
    ]
    assert curves_figure(findings()) is None
    assert curves_figure(findings(curves=(one.model_copy(update={"roc": (), "calibration": ()}),))) is None


def test_a_line_of_few_shot_arms_begins_where_nothing_is_shown() -> None:
    arms = [
        arm(0.5, shows="none", inference="direct"),
        arm(0.52, shows="label", inference="direct", shots=2),
        arm(0.58, shows="rationale", inference="direct", shots=2),
    ]
    drawing = few_shot_figure(findings(arms=arms, supervisions=SIZES))
    assert [(row["model"], row["of"], row["how"], row["auc"]) for row in told(drawing)] == [
        ("trained", "label_only", "", "0.6"),
        ("trained", "free_form", "", "0.6"),
        ("reads examples", "none", "inference direct", "0.5"),
        ("reads examples", "label", "inference direct, shots 2", "0.52"),
        ("reads examples", "rationale", "inference direct, shots 2", "0.58"),
    ]
    assert drawing is not None and drawing.svg.count("inference direct, shots 2") == 1
    assert few_shot_figure(findings(supervisions=SIZES)) is None


def test_the_mechanism_names_an_arm_by_what_is_unusual_in_it() -> None:
    def training(share: float | None, **coordinates: AxisValue) -> ArmTraining:
        shares = dict.fromkeys(("label_token_share", "label_loss_share", "label_gradient_share"), share)
        return only(ArmTraining, coordinates=coordinates, n_trials=3, **shares)

    usual = {"supervision": "free_form", "rationale": "real"}
    arms = (
        training(0.1, **usual),
        training(0.2, supervision="free_form", rationale="shuffled"),
        training(0.9, **usual),
    )
    probes = [
        ArmProbe(coordinates=usual, split="tuning", fraction=at, n_trials=3, values={"cos_direct_rationale": at / 2})
        for at in (1.0, 0.0)
    ]
    rows = told(mechanism_figure(findings(training=arms[:2], probes=probes, arms=(arm(0.55, **usual),))))
    assert [(row["arm"], row["auc"], row["label_loss_share"], row["cos_direct_rationale"]) for row in rows] == [
        ("free_form", "0.55", "0.1", "0.5"),
        ("free_form, shuffled", "", "0.2", ""),
    ]
    assert mechanism_figure(findings(training=(training(None, supervision="label_only"),))) is None


def test_cost_is_a_mean_over_the_trials_of_a_place_and_leaves_out_what_compares_nothing() -> None:
    def trial(kind: str, wall_s: float, *, role: str = "grid", size: int = 64) -> TrialRow:
        place = {"base": "llama", "train_size": size}
        return only(TrialRow, kind=kind, role=role, coordinates=place, wall_s=wall_s, strict_auc=0.6)

    trials = [
        trial("label_only", 10),
        trial("label_only", 30),
        trial("free_form", 40, size=128),
        trial("logistic", 1, role="control"),
        trial("permuted_labels", 9, role="control"),
    ]
    rows = told(cost_figure(findings(trials=trials)))
    assert [(row["kind"], row["train_size"], row["trials"], row["wall_s"]) for row in rows] == [
        ("label_only", "64", "2", "20.0"),
        ("free_form", "128", "1", "40.0"),
        ("logistic", "64", "1", "1.0"),
    ]
    assert cost_figure(findings(trials=trials[:3])) is None


def test_the_parts_of_a_trial_stand_side_by_side_and_are_left_out_where_no_trial_tells_them() -> None:
    spent = (
        SpentTime(kind="label_only", base=HOSTILE, n_trials=4, seconds={"forward": 1.0, "commit": 0.5}),
        SpentTime(kind="logistic", base="–", n_trials=1, seconds={"other": 0.25}),
    )
    drawing = parts_figure(findings(spent=spent))
    rows = told(drawing)
    assert [(row["kind"], row["trials"], row["forward"], row["writing"], row["commit"]) for row in rows] == [
        ("label_only", "4", "1.0", "", "0.5"),
        ("logistic", "1", "", "", ""),
    ]
    assert drawing is not None
    assert "optimizer" not in drawing.svg and "a$\\frac{$ &lt;b&gt;&amp; (4)" in drawing.svg
    assert parts_figure(findings(spent=())) is None


def test_many_cells_are_points_and_few_are_joined() -> None:
    def grid(n_cells: int) -> Drawing | None:
        trials = [
            only(TrialRow, role="grid", cell_id=f"{n}", kind=kind, coordinates={}, strict_auc=0.5 + n / 100)
            for n in range(n_cells)
            for kind in ("label_only", "free_form")
        ]
        return auc_figure(findings(trials=trials, supervisions=(SIZES[0], SIZES[3])))

    few, many = grid(MOST_LINES), grid(MOST_LINES + 1)
    assert few is not None and many is not None
    joined = f"stroke: {CELL}; stroke-opacity: 0.8; stroke-width: 0.9"
    assert (few.svg.count(joined), many.svg.count(joined)) == (MOST_LINES, 0)


def test_the_headline_is_one_row_with_its_margin() -> None:
    subject = contrast(("llama", "qwen"), (64, 128))
    plain, within = headline_row(subject, margin=None), headline_row(subject, margin=0.02)
    assert [(row["difference"], row["low"]) for row in told(plain)] == [("-0.05", "-0.07")]
    assert (
        plain is not None
        and within is not None
        and [RULE in drawing.svg for drawing in (plain, within)] == [False, True]
    )


def test_nothing_scored_draws_nothing() -> None:
    bare = contrast(("llama", "qwen"), (64, 128)).model_copy(update={"layers": (), "by_axis": (), "groups": ()})
    assert forest_plot(bare) is None
    assert heat_map(bare) is None
    assert headline_row(bare, margin=None) is None
    assert not any(draw_every(findings(contrasts=(bare,))).values())
