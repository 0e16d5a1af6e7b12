"""Agreement of raters: coefficients against libraries and hand counts; sheets that are refused without a quoted row."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from orchestrator.audit.agreement import Agreement, agree
from orchestrator.audit.coefficients import (
    gwet,
    kappa,
    krippendorff_alpha,
    raw_agreement,
    weights_of,
    wilson,
    with_interval,
)
from orchestrator.audit.ratings import read_key, read_ratings
from workers.contract.answers.audit import ANSWER_COLUMNS, ID_COLUMN, KEY_COLUMNS, SHEET_ITEMS
from workers.contract.errors import InputError
from workers.contract.recipes.teaching import Supervision

NAN = float("nan")
# Krippendorff 2011, section C: twelve units, four observers, five values, gaps.
PUBLISHED = (
    np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
            [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
        ]
    ).T
    - 1
)
SCALE, NOMINAL = weights_of(5, is_scale=True), weights_of(5, is_scale=False)
YES_NO = weights_of(2, is_scale=False)


def test_scale_weights_are_quadratic_and_others_none() -> None:
    assert SCALE[0].tolist() == [1.0, 0.9375, 0.75, 0.4375, 0.0]
    assert np.array_equal(YES_NO, np.eye(2))


@pytest.mark.parametrize(("weights", "expected"), [(NOMINAL, 0.743), (SCALE, 0.849)])
def test_alpha_is_the_published_one(weights: np.ndarray, expected: float) -> None:
    assert krippendorff_alpha(PUBLISHED, weights) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(("weights", "expected"), [(NOMINAL, 0.77544), (SCALE, 0.914)])
def test_gwet_is_that_of_a_library(weights: np.ndarray, expected: float) -> None:
    # irrCAC 0.4.4, CAC(...).gwet(), identity and quadratic weights.
    assert gwet(PUBLISHED, weights) == pytest.approx(expected, abs=5e-6)


def table(yes_yes: int, yes_no: int, no_yes: int, no_no: int) -> np.ndarray:
    rows = [[1, 1]] * yes_yes + [[1, 0]] * yes_no + [[0, 1]] * no_yes + [[0, 0]] * no_no
    return np.array(rows, dtype=np.float64)


def test_two_raters_by_hand() -> None:
    ratings = table(40, 10, 5, 45)
    assert raw_agreement(ratings, YES_NO) == pytest.approx(0.85)
    by_chance = 0.5 * 0.45 + 0.5 * 0.55
    assert kappa(ratings, YES_NO) == pytest.approx((0.85 - by_chance) / (1 - by_chance))
    share = (0.5 + 0.45) / 2
    by_chance = 2 * share * (1 - share)
    assert gwet(ratings, YES_NO) == pytest.approx((0.85 - by_chance) / (1 - by_chance))


@pytest.mark.parametrize(("weights", "kind"), [(NOMINAL, None), (SCALE, "quadratic")])
def test_kappa_is_that_of_scikit_learn(weights: np.ndarray, kind: str | None) -> None:
    generator = np.random.default_rng(3)
    first = generator.integers(0, 5, 60)
    second = np.clip(first + generator.integers(-1, 3, 60), 0, 4)
    expected = cohen_kappa_score(first, second, labels=np.arange(5), weights=kind)
    assert kappa(np.column_stack([first, second]).astype(np.float64), weights) == pytest.approx(expected)


def test_kappa_collapses_at_high_prevalence_where_ac1_does_not() -> None:
    ratings = table(90, 5, 5, 0)
    low, high = kappa(ratings, YES_NO), gwet(ratings, YES_NO)
    assert low is not None
    assert high is not None
    assert low < 0 < 0.85 < high


def test_weighted_kappa_forgives_a_near_miss() -> None:
    near = np.array([[0, 1], [1, 1], [2, 3], [4, 4], [3, 3]], dtype=np.float64)
    weighted, plain = kappa(near, SCALE), kappa(near, NOMINAL)
    assert weighted is not None
    assert plain is not None
    assert weighted > plain + 0.2


def test_perfect_agreement_is_one_and_a_single_category_leaves_kappa_and_alpha_null() -> None:
    same = np.repeat(np.arange(5.0), 2).reshape(-1, 2)
    for coefficient in (raw_agreement, kappa, gwet, krippendorff_alpha):
        assert coefficient(same, SCALE) == pytest.approx(1.0)
    constant = np.ones((8, 2))
    assert (kappa(constant, YES_NO), krippendorff_alpha(constant, YES_NO)) == (None, None)
    assert gwet(constant, YES_NO) == 1.0


def test_one_rater_agrees_with_nobody() -> None:
    alone = np.ones((8, 1))
    assert [f(alone, YES_NO) for f in (raw_agreement, kappa, gwet, krippendorff_alpha)] == [None] * 4


def test_an_interval_holds_its_value_and_narrows_with_more_rationales() -> None:
    def width(times: int) -> float:
        found = with_interval(
            np.tile(table(8, 3, 2, 7), (times, 1)), lambda drawn: gwet(drawn, YES_NO), n_replicates=300
        )
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.value < found.high
        return found.high - found.low

    assert width(16) < 0.5 * width(1)


def test_wilson_says_how_precise_no_quality_problem_is() -> None:
    found = wilson(142, 150)  # protocol 3.12: 95 % of 150 is 90 to 97 %
    assert found is not None
    assert found.low == pytest.approx(0.898, abs=1e-3)
    assert found.high == pytest.approx(0.973, abs=1e-3)
    assert wilson(0, 0) is None


N_RATIONALES, N_REPEATED = 40, 4
Rate = Callable[[str, int, int], str]


def rate(item: str, rater: int, rationale: int) -> str:
    """Both raters say 4 or 5 of free-form rationales, 2 of step-by-step ones; the second is a little stricter."""
    if item in ("fabricated", "unsafe"):
        return "no" if rationale % 8 else "yes"
    if item == "predict":
        return "yes" if rationale % 4 < 2 else "no"
    good = 5 if (rationale + rater) % 3 else 4
    return str(good if rationale % 2 else 2)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Two raters, two training items, forty rationales, four of them twice."""
    rows = []
    for rater in (1, 2):
        parts = [("training", n) for n in (101, 102)] + [("rated", n) for n in range(N_RATIONALES)]
        parts += [("repeated", n) for n in range(N_REPEATED)]
        for place, (part, number) in enumerate(parts):
            arm = Supervision.FREE_FORM if number % 2 else Supervision.STEP_BY_STEP
            rows.append((f"{rater}x{place:03d}", rater, part, number, arm, int(number % 4 < 2), "blind"))
    path = tmp_path / "key.csv"
    pd.DataFrame(rows, columns=list(KEY_COLUMNS)).to_csv(path, index=False)
    return path


def fill(key: Path, *, rater: int, how: Rate = rate) -> Path:
    """A filled sheet beside the key."""
    mine = read_key(key).query("rater == @rater").reset_index()
    sheet = pd.DataFrame({ID_COLUMN: mine["id"], "participant": "CANARY of 75", "rationale": "CANARY"})
    for name in ANSWER_COLUMNS:
        is_item = name in [item.name for item in SHEET_ITEMS]
        sheet[name] = [how(name, rater, number) if is_item else "CANARY" for number in mine["rationale"]]
    path = key.parent / f"rater-{rater}.csv"
    sheet.to_csv(path, index=False)
    return path


def edit(path: Path, row: int, column: str, value: str) -> Path:
    sheet = pd.read_csv(path, dtype=str, keep_default_na=False)
    sheet.loc[row, column] = value
    sheet.to_csv(path, index=False)
    return path


@pytest.fixture
def sheets(key: Path) -> list[Path]:
    return [fill(key, rater=1), fill(key, rater=2)]


def found(sheets: list[Path], key: Path, *, min_cell: int = 0) -> Agreement:
    return agree(read_ratings(sheets, read_key(key)), study="s", min_cell=min_cell, n_replicates=50)


def test_filled_sheets_give_agreement_and_shares_by_arm(sheets: list[Path], key: Path) -> None:
    report = found(sheets, key)
    assert (report.n_raters, report.n_rationales.value) == (2, N_RATIONALES)
    by_item = {row.item: row for row in report.items}
    accuracy, fabricated = by_item["accuracy"], by_item["fabricated"]
    n_equal = sum(rate("accuracy", 1, n) == rate("accuracy", 2, n) for n in range(N_RATIONALES))
    assert accuracy.raw is not None
    assert accuracy.raw.value == pytest.approx(n_equal / N_RATIONALES)
    assert accuracy.kappa is not None
    assert 0.8 < accuracy.kappa.value < 1
    assert fabricated.kappa is not None
    assert fabricated.kappa.value == 1.0
    assert (accuracy.alpha, accuracy.n_repeated.value) == (None, 2 * N_REPEATED)
    assert accuracy.within_raw is not None
    assert accuracy.within_raw.value == 1.0
    accurate = {row.supervision: row.share for row in report.shares if row.name.startswith("accurate")}
    assert accurate == {Supervision.FREE_FORM: wilson(20, 20), Supervision.STEP_BY_STEP: wilson(0, 20)}
    predicted = [row.share for row in report.shares if row.name.startswith("label")]
    assert predicted == [wilson(20, 20)] * 2


def test_a_rater_who_wavers_is_seen_in_the_repeats(sheets: list[Path], key: Path) -> None:
    mine = read_key(key).query("rater == 1").reset_index()
    row = int(mine.index[mine["part"] == "repeated"][0])
    within = found([edit(sheets[0], row, "unsafe", "no"), sheets[1]], key)
    unsafe = next(item for item in within.items if item.item == "unsafe")
    assert unsafe.within_raw is not None
    assert unsafe.within_raw.value == pytest.approx(7 / 8)


def test_three_raters_get_an_alpha_and_may_rate_a_part(key: Path) -> None:
    third = pd.read_csv(key).query("rater == 2").assign(rater=3)
    third["id"] = third["id"].str.replace("2x", "3x")
    pd.concat([pd.read_csv(key), third]).to_csv(key, index=False)
    paths = [fill(key, rater=rater) for rater in (1, 2, 3)]
    sheet = pd.read_csv(paths[2], dtype=str)
    sheet.loc[20:, [item.name for item in SHEET_ITEMS]] = ""
    sheet.to_csv(paths[2], index=False)
    report = found(paths, key)
    assert report.n_raters == 3
    assert report.items[0].alpha is not None
    assert report.n_rationales.value == N_RATIONALES


def test_training_rows_count_for_nothing_and_may_stay_empty(sheets: list[Path], key: Path) -> None:
    before = found(sheets, key)
    edit(sheets[0], 0, "accuracy", "1")
    edit(sheets[0], 1, "accuracy", "")
    assert found(sheets, key) == before


def test_spreadsheets_may_write_4_as_4_0_yes_as_y_and_use_semicolons(sheets: list[Path], key: Path) -> None:
    before = found(sheets, key)
    sheet = pd.read_csv(sheets[0], dtype=str).replace({"4": "4.0", "yes": " Y ", "no": "N"})
    sheet.to_csv(sheets[0], index=False, sep=";", encoding="utf-8-sig")
    assert found(sheets, key) == before


def test_an_arm_that_few_participants_are_behind_is_hidden(sheets: list[Path], key: Path) -> None:
    shares = found(sheets, key, min_cell=20).shares
    assert {share.share for share in shares} == {None}
    assert {str(share.n_rationales) for share in shares} == {"≤20"}


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("accuracy", "6", "1 ratings are not 1 to 5"),
        ("grounded", "0", "1 ratings are not 1 to 5"),
        ("completeness", "3.5", "1 ratings are not 1 to 5"),
        ("unsafe", "CANARY", "1 ratings are not no or yes"),
        ("reasoning", "", "1 ratings are missing"),
        ("id", "2x005", "1 ids stand in two files"),
        ("id", "CANARY", "1 ids are not in the key"),
        ("id", "1x006", "1 ids stand twice"),
    ],
)
def test_a_bad_cell_is_named_by_file_column_and_count_and_never_quoted(
    sheets: list[Path], key: Path, column: str, value: str, what: str
) -> None:
    edit(sheets[0], 5, column, value)
    with pytest.raises(InputError) as refused:
        read_ratings(sheets, read_key(key))
    text = str(refused.value)
    assert f"column {column}: {what}" in text
    assert "CANARY" not in text
    assert not any(one in text for one in ("2x005", "1x006"))


def test_every_problem_of_every_file_is_told_at_once(sheets: list[Path], key: Path) -> None:
    edit(sheets[0], 5, "accuracy", "9")
    edit(sheets[0], 6, "accuracy", "7")
    edit(sheets[1], 7, "predict", "perhaps")
    with pytest.raises(InputError) as refused:
        read_ratings(sheets, read_key(key))
    assert [problem.what for problem in refused.value.problems] == [
        "2 ratings are not 1 to 5",
        "1 ratings are not no or yes",
    ]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00CANARY", b'id,accuracy\n"CANARY', b"id,accuracy\nCANARY,4\n"])
def test_what_is_no_sheet_is_refused_without_its_content(key: Path, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_ratings([path], read_key(key))
    assert "sheet.csv" in str(refused.value)
    assert "CANARY" not in str(refused.value)


def test_a_missing_sheet_and_an_empty_one_are_refused(sheets: list[Path], key: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        read_ratings([tmp_path / "absent.csv"], read_key(key))
    blank = pd.read_csv(sheets[0], dtype=str)
    blank[[item.name for item in SHEET_ITEMS]] = ""
    blank.to_csv(sheets[0], index=False)
    with pytest.raises(InputError, match="no rating"):
        read_ratings(sheets[:1], read_key(key))


def test_a_sheet_is_no_key(sheets: list[Path]) -> None:
    with pytest.raises(InputError, match="key"):
        read_key(sheets[0])


@pytest.mark.parametrize("number", ["inf", "1e400", "-1", "1.5", "nan", "1" * 20, ""])
@pytest.mark.parametrize("column", ["rater", "rationale", "label"])
def test_a_key_whose_numbers_are_none_is_damaged(key: Path, column: str, number: str) -> None:
    edit(key, 0, column, number)
    with pytest.raises(InputError, match=r"1 of .* rows are damaged"):
        read_key(key)
