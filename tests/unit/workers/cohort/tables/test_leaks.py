"""What gives the outcome away on one row a participant, and ids that number visits; what only looks so is let in."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.cohorts.tables import WIDE, recipe
from workers.cohort.cohort import Cohort
from workers.cohort.tables.read import read_table
from workers.contract.errors import InputError

N = 600
ONE_ROW: dict[str, Any] = {
    "shape": "wide",
    "question": "Dead within a year?",
    "id": "row",
    "clock": "none",
    "horizon_days": 365,
    "outcome": {"flag": "status", "equals": 2, "competing": [1], "lost": [0], "time": "days"},
    "inputs": [{"column": "weight"}, {"column": "x"}],
}


def people() -> pd.DataFrame:
    generator = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "who": [f"canary {n}" for n in range(N)],
            "status": generator.choice([0, 1, 2], N),
            "days": generator.integers(1, 3000, N),
            "weight": generator.normal(80, 9, N).round(1),
            "year": generator.integers(1990, 2000, N),
        }
    )


def read(table: pd.DataFrame, folder: Path, mapping: dict[str, Any], **changes: Any) -> Cohort:  # noqa: ANN401
    table.to_csv(folder / "table.csv", index=False)
    return read_table(folder / "table.csv", recipe(mapping, **changes))


def refused(table: pd.DataFrame, folder: Path, mapping: dict[str, Any], **changes: Any) -> list[str]:  # noqa: ANN401
    with pytest.raises(InputError) as caught:
        read(table, folder, mapping, **changes)
    assert "canary" not in str(caught.value)
    return [f"{problem.where.rsplit(' ', 1)[-1]}: {problem.what}" for problem in caught.value.problems]


SAYS, RUNS = "says on every row whether the outcome or death came", "runs with the time of follow-up"
OF_THE_OUTCOME = {
    "its flag under another name": (lambda t: (t["status"] == 2).astype(int), SAYS),
    "the other way round": (lambda t: (t["status"] != 2).astype(int), SAYS),
    "its status in words": (lambda t: t["status"].map({0: "alive", 1: "transplanted", 2: "dead"}), SAYS),
    "the competing flag": (lambda t: (t["status"] == 1).astype(int), SAYS),
    "a cause where it came": (lambda t: (t["year"] % 4).where(t["status"] == 2), SAYS),
    "the time": (lambda t: t["days"], RUNS),
    "the time in years, rounded": (lambda t: (t["days"] / 365.25).round(), RUNS),
    "what is left to a date": (lambda t: 5000 - t["days"], RUNS),
    "what was measured at half a year": (lambda t: t["weight"].where(t["days"] > 180), RUNS),
    "a state at 800 days, for whoever came so far": (lambda t: (t["year"] % 2 + 2).where(t["days"] > 800, 1), RUNS),
}  # fmt: skip
OF_NONE = {
    "unique to a row": lambda t: np.random.default_rng(1).permutation(N),
    "one value": lambda t: 1,
    "a rare one": lambda t: (t.index == t["days"].idxmax()).astype(int),
    "a year": lambda t: t["year"],
    "the flag but for some": lambda t: (t["status"] == 2) ^ (t.index % 9 == 0),
    "nothing": lambda t: None,
}


@pytest.mark.parametrize("leak", OF_THE_OUTCOME)
def test_what_is_known_only_afterwards_is_no_input(leak: str, tmp_path: Path) -> None:
    make, what = OF_THE_OUTCOME[leak]
    table = people().assign(x=make)
    words = {"categories": {word: "" for word in ("alive", "transplanted", "dead")}} if "words" in leak else {}
    inputs = [{"column": "weight"}, {"column": "x", **words}]
    assert refused(table, tmp_path, ONE_ROW, inputs=inputs) == [f"x: {what}"]


def entered(table: pd.DataFrame) -> "pd.Series[float]":
    return pd.Series(np.random.default_rng(7).uniform(40, 80, len(table)))


RANKS, NEARLY = "ranks the outcome, whenever it came, with an AUC of 0.96", "nearly runs with the time of follow-up"
ADDS = "add up to, or differ by, nearly the time of follow-up or the outcome"
# Columns x and y beside weight; what is refused, and where.
NEAR_THE_OUTCOME = {
    "a copy with some cells wrong": (lambda t: (t["status"] == 2) ^ (t.index % 25 == 0), lambda t: 1, f"x: {RANKS}"),
    "in words": (
        lambda t: ((t["status"] == 2) ^ (t.index % 25 == 0)).map({True: "M", False: "W"}), lambda t: 1, f"x: {RANKS}"
    ),
    "the time of another end, which comes later": (
        lambda t: t["days"] + t.index % 1000 * (t["status"] == 2), lambda t: 1, f"x: {NEARLY}"
    ),
    "the time, rounded and disturbed": (lambda t: t["days"] // 90 + t.index % 3, lambda t: 1, f"x: {NEARLY}"),
    "an age at entry and one at the end": (entered, lambda t: (t["x"] + t["days"] / 365.25).round(1), f"y: {ADDS}"),
    "parts of the time": (lambda t: t["days"] * (t.index % 7) / 6, lambda t: t["days"] - t["x"], f"y: {ADDS}"),
    "two that the outcome parts": (entered, lambda t: t["x"] - 9.0 * (t["status"] == 2), f"y: {ADDS}"),
}  # fmt: skip


@pytest.mark.parametrize("leak", NEAR_THE_OUTCOME)
def test_what_nearly_tells_the_outcome_is_no_input_unless_it_was_known(leak: str, tmp_path: Path) -> None:
    make, make_other, what = NEAR_THE_OUTCOME[leak]
    table = people().assign(x=make).assign(y=make_other)
    words = {"categories": {"M": "", "W": ""}} if leak == "in words" else {}
    inputs = [{"column": "weight"}, {"column": "x", **words}, {"column": "y"}]
    assert refused(table, tmp_path, ONE_ROW, inputs=inputs) == [what]
    known = recipe(ONE_ROW, inputs=inputs).model_copy(update={"known_at_index": ("x",)})
    (warning,) = read_table(tmp_path / "table.csv", known).warnings
    assert warning.endswith(f"{what[3:]}; kept, as `known_at_index` says")


def test_the_flag_of_another_end_is_warned_of(tmp_path: Path) -> None:
    """Who died had nearly always the relapse before; many had the relapse and live."""
    table = people().assign(x=lambda t: ((t["status"] == 2) & (t.index % 2 == 0)) | (t.index % 300 == 1))
    cohort = read(table, tmp_path, ONE_ROW)
    assert [text.partition(";")[0] for text in cohort.warnings] == [
        "column x has a value that hardly anybody without the outcome has"
    ]
    known = recipe(ONE_ROW).model_copy(update={"known_at_index": ("x",)})
    assert read_table(tmp_path / "table.csv", known).warnings == ()


@pytest.mark.parametrize("column", OF_NONE)
def test_what_chance_may_do_is_let_in(column: str, tmp_path: Path) -> None:
    assert read(people().assign(x=OF_NONE[column]), tmp_path, ONE_ROW).flow.n_events


def test_entry_of_those_who_were_seen_to_one_day_is_no_leak(tmp_path: Path) -> None:
    """Whoever lives is followed from entry to the same day: in the controls alone, entry runs with the time."""
    table = people()
    entry = np.random.default_rng(4).integers(0, 3000, N)
    table["days"] = np.where(table["status"] == 2, table["days"], 4000 - entry)
    table["status"] = np.where(table["status"] == 2, 2, 0)
    assert read(table.assign(x=entry), tmp_path, ONE_ROW).flow.n_events


def test_waves_that_were_followed_for_unlike_times_are_no_leak(tmp_path: Path) -> None:
    """Whoever came late is followed for a shorter time; of those who die, some of either wave die soon."""
    table, wave = people(), np.arange(N) % 2
    died = np.random.default_rng(6).integers(1, 900, N)
    is_dead = np.arange(N) % 5 < 2
    table["status"], table["days"] = np.where(is_dead, 2, 0), np.where(is_dead, died, np.where(wave, 1000, 3000))
    assert read(table.assign(x=wave), tmp_path, ONE_ROW).flow.n_events


def test_what_is_declared_to_be_known_later_may_be(tmp_path: Path) -> None:
    table = people().assign(x=lambda t: t["days"], seen=99)
    inputs = [{"column": "weight"}, {"column": "x", "known": "seen"}]
    assert "x" not in set(read(table, tmp_path, ONE_ROW, inputs=inputs).events["code"])


class TestIds:
    """Two or three visits each; the participants are known, and another column numbers rows or visits."""

    MAPPING: dict[str, Any] = WIDE | {"inputs": [{"column": "weight"}], "sex": None}

    def visits(self) -> pd.DataFrame:
        table = people().drop(columns="year").assign(gout=lambda t: t["status"] // 2, gout_day=lambda t: t["days"])
        table = table.assign(last_day=lambda t: t["days"], dead=0, dead_day="", age=np.resize([50, 61, 72], N))
        table = table.loc[table.index.repeat(3)].reset_index(drop=True)
        n = table.groupby("who").cumcount()
        years = table["age"] + n * 2
        return table.assign(
            visit=n, day=-1000 + 731 * n + table.index % 7, years=years, weight=table["weight"] + n, row=table.index
        )

    def test_participants_are_taken(self, tmp_path: Path) -> None:
        assert read(self.visits(), tmp_path, self.MAPPING).flow.n_participants

    def test_a_number_of_the_row_is_none_of_participants(self, tmp_path: Path) -> None:
        (problem,) = refused(self.visits(), tmp_path, self.MAPPING, id="row")
        assert (
            problem
            == "row: 1200 ids have the follow-up of the row before and a later time, as visits of one participant do"
        )

    def test_nor_is_a_number_of_the_visit(self, tmp_path: Path) -> None:
        table = self.visits()
        with pytest.raises(InputError, match="if it numbers visits, name the column of participants"):
            read(table.assign(day=table["visit"]), tmp_path, self.MAPPING, id="visit")

    def test_ages_go_with_times(self, tmp_path: Path) -> None:
        table = self.visits().assign(years=np.random.default_rng(2).integers(40, 90, 3 * N))
        found = refused(table, tmp_path, self.MAPPING)
        assert found[0].startswith("who: ") and found[0].endswith("have ages that don't go with their times")

    def test_one_row_each_from_entry_on_is_one_row_each(self, tmp_path: Path) -> None:
        table = self.visits().drop_duplicates("who").sort_values(["gout_day", "gout"])
        assert read(table, tmp_path, self.MAPPING, id="row").flow.n_participants
