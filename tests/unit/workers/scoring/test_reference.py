"""The built-in baselines reach what the protocol's reference table says of the Framingham data, and no more."""

import pandas as pd
import pytest

from support.cohorts.framingham_table import (
    CURRENT_EXAM,
    FIVE_YEARS,
    LEAKS,
    TABLE,
    Cell,
    Row,
    columns_of,
    cross_validated_auc,
    load_task,
    with_history,
)
from support.places import FRAMINGHAM
from workers.cohort.framingham import FORBIDDEN_COLUMNS
from workers.contract.trial import Method

# Two of the eight tasks, the fast one and the one that later studies lean on; the others are slow.
FAST = [row for row in TABLE if row.horizon_days == FIVE_YEARS and row.index in ("all_exams", "exam_1")][:2]
# Prevalent disease is known on the day; the task of cardiovascular disease excludes it, so it tells nothing there.
ON_THE_DAY = {"PREVCHD", "PREVAP", "PREVMI", "PREVSTRK"}


def cells(rows: list[Row]) -> list[object]:
    return [pytest.param(row, cell, id=f"{row.name}, {cell.name}") for row in rows for cell in row.cells]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_index_exams_people_and_events_are_the_protocols(row: Row) -> None:
    task = load_task(row)
    counts = (len(task.exams), task.exams["RANDID"].nunique(), task.outcomes.sum())
    assert counts == (row.n_rows, row.n_people, row.n_events)


@pytest.mark.parametrize(("row", "cell"), cells(FAST)[:2])
def test_a_cell_is_met_in_one_repeat(row: Row, cell: Cell) -> None:
    auc = cross_validated_auc(load_task(row), cell.method, columns_of(cell.features), seeds=(0,))
    assert auc == pytest.approx(cell.auc, abs=cell.tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("row", "cell"), cells(list(TABLE)))
def test_every_cell_is_met(row: Row, cell: Cell) -> None:
    auc = cross_validated_auc(load_task(row), cell.method, columns_of(cell.features))
    assert auc == pytest.approx(cell.auc, abs=cell.tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("leak", "expected"), LEAKS.items(), ids=lambda value: str(value))
def test_a_leak_raises_the_auc_as_the_protocol_measured(leak: tuple[str, ...], expected: float) -> None:
    task = load_task(TABLE[0])
    leaking = cross_validated_auc(task, Method.LOGISTIC, (*CURRENT_EXAM, *leak))
    assert leaking == pytest.approx(expected, abs=0.02)
    assert leaking > cross_validated_auc(task, Method.LOGISTIC, CURRENT_EXAM) + 0.005


class TestFeatures:
    def test_no_feature_tells_the_future(self) -> None:
        features = {column for cell in TABLE[0].cells for column in columns_of(cell.features)}
        assert not features & (set(FORBIDDEN_COLUMNS) - ON_THE_DAY)

    def test_what_comes_later_changes_no_history(self) -> None:
        exams = pd.read_csv(FRAMINGHAM)
        until_second = exams[exams["PERIOD"] <= 2]
        shorter, longer = with_history(until_second), with_history(exams)
        longer = longer[longer["PERIOD"] <= 2].reset_index(drop=True)
        pd.testing.assert_frame_equal(shorter, longer)

    def test_history_is_that_of_the_same_person(self) -> None:
        base = dict.fromkeys(CURRENT_EXAM, 0.0)
        pressures = [(1, 0, 120.0), (1, 1461, 140.0), (2, 0, 200.0), (2, 730, 180.0)]
        exams = pd.DataFrame([base | {"RANDID": who, "TIME": day, "SYSBP": value} for who, day, value in pressures])
        found = with_history(exams).fillna(-1)
        assert found["SYSBP before"].tolist() == [-1, 120, -1, 200]
        assert found["SYSBP change"].tolist() == [-1, 20, -1, -20]
        assert found["SYSBP mean"].tolist() == [120, 130, 200, 190]
        assert found["years since last exam"].round(2).tolist() == [-1, 4, -1, 2]
