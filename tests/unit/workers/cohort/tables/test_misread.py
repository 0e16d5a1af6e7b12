"""What could silently be taken for something else: marks of numbers, misspelt words, alike codes, ids, days."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from support.cohorts.tables import read, recipe
from workers.cohort.tables.gate import guess_marks
from workers.cohort.tables.read import read_table
from workers.cohort.tables.sketch import look
from workers.contract.answers.findings import DraftQuestion
from workers.contract.errors import InputError

N = 200
ROWS: dict[str, Any] = {
    "shape": "wide",
    "question": "Dead within a year?",
    "id": "row",
    "clock": "none",
    "horizon_days": 365,
    "outcome": {"flag": "dead", "time": "days"},
    "inputs": [{"column": "platelets"}, {"column": "crp"}],
}
EVENTS: dict[str, Any] = {
    "shape": "long",
    "question": "Dead within 100 days?",
    "id": "id",
    "time": "day",
    "code": "code",
    "value": "v",
    "horizon_days": 100,
    "index": {"rule": "first_row"},
    "inputs": [{"code": "LAB", "kind": "number"}],
    "outcome": {"codes": ["DEATH"]},
}


def people(n: int = N) -> pd.DataFrame:
    """Some followed for more than a thousand days, whose numbers have thousands."""
    source = np.random.default_rng(4)
    days, dead = source.integers(20, 3000, n), source.integers(0, 2, n)
    crp, platelets = (source.gamma(2, 8, n) + 0.1).round(1), source.integers(40, 600, n) * 1000
    return pd.DataFrame({"days": days, "dead": dead, "crp": crp, "platelets": platelets})


def written(table: pd.DataFrame, path: Path, *, thousands: str, decimal: str, separator: str) -> Path:
    """As a spreadsheet exports it."""
    text = table.assign(
        days=[f"{day:,}".replace(",", thousands) for day in table["days"]],
        platelets=[f"{count:,}".replace(",", thousands) for count in table["platelets"]],
        crp=[f"{value:.1f}".replace(".", decimal) for value in table["crp"]],
    )
    text.to_csv(path, index=False, sep=separator)
    return path


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): cell for name, cell in row.items()} for row in table.to_dict("records")]


def problem(rows: list[dict[str, Any]], folder: Path, mapping: dict[str, Any], **changes: Any) -> str:  # noqa: ANN401
    with pytest.raises(InputError) as caught:
        read(rows, folder, mapping, **changes)
    return str(caught.value)


class TestMarks:
    @pytest.mark.parametrize(
        ("thousands", "decimal", "separator"), [(",", ".", ","), (".", ",", ";"), (" ", ",", ";"), ("'", ".", ";")]
    )
    def test_parted_thousands_are_read_as_declared(
        self, thousands: str, decimal: str, separator: str, tmp_path: Path
    ) -> None:
        table = people()
        path = written(table, tmp_path / "t.csv", thousands=thousands, decimal=decimal, separator=separator)
        cohort = read_table(path, recipe(ROWS, thousands=thousands, decimal=decimal))
        assert cohort.flow.n_events == int(((table["dead"] == 1) & (table["days"] <= 365)).sum())
        assert cohort.flow.excluded["lost before the horizon"] == int(
            ((table["dead"] == 0) & (table["days"] < 365)).sum()
        )
        assert set(cohort.events.loc[cohort.events["code"] == "platelets", "numeric_value"]) <= {*table["platelets"]}
        assert set(cohort.events.loc[cohort.events["code"] == "crp", "numeric_value"]) <= {*table["crp"]}

    @pytest.mark.parametrize(("declared", "written_as"), [(" ", "\u202f"), (" ", "\u00a0"), ("'", "\u2019")])
    def test_so_are_those_that_typesetters_part(self, declared: str, written_as: str, tmp_path: Path) -> None:
        table = people()
        path = written(table, tmp_path / "t.csv", thousands=written_as, decimal=".", separator=";")
        flow = read_table(path, recipe(ROWS, thousands=declared)).flow
        assert flow == read(table.pipe(records), tmp_path, ROWS).flow

    @pytest.mark.parametrize(
        ("thousands", "decimal", "separator"), [(",", ".", ","), (".", ",", ";"), ("", ",", ";"), ("", ".", ",")]
    )
    def test_a_draft_guesses_them(self, thousands: str, decimal: str, separator: str, tmp_path: Path) -> None:
        path = written(people(), tmp_path / "t.csv", thousands=thousands, decimal=decimal, separator=separator)
        sketch = look(DraftQuestion(place=path))
        assert (sketch.thousands, sketch.decimal) == (thousands, decimal)
        assert {one.name: one.high for one in sketch.columns}["days"] > 1000

    @pytest.mark.parametrize(
        ("cells", "marks"),
        [
            (["1.217", "129", "2.045"], (",", ".")),
            (["0.512", "129", "2.045"], (".", "")),
            (["3,512", "4,1"], (",", "")),
            (["0,512", "3,512"], (",", "")),
        ],
    )
    def test_semicolons_tell_what_commas_and_dots_are(
        self, cells: list[str], marks: tuple[str, str], tmp_path: Path
    ) -> None:
        pd.DataFrame({"x": cells, "y": 1}).to_csv(tmp_path / "t.csv", sep=";", index=False)
        assert guess_marks(tmp_path / "t.csv")[0] == marks

    @pytest.mark.parametrize(
        ("table", "separator", "marks"),
        [
            ({"choice": ["1,2", "1,3,4"], "bmi": ["27.4", "31.2"]}, ",", (".", "")),
            ({"icd": ["410.1", "250.0"], "crea": ["0,9", "1,2"]}, ";", (",", "")),
            ({"icd": ["410.1", "250.0"], "days": ["1.217", "129"], "crea": ["0,9", "1,2"]}, ";", (",", ".")),
            ({"crea": ["0,950", "0,980"]}, ",", (",", "")),
        ],
    )
    def test_a_draft_takes_what_is_written_otherwise_for_words(
        self, table: dict[str, list[str]], separator: str, marks: tuple[str, str], tmp_path: Path
    ) -> None:
        pd.DataFrame(table).to_csv(tmp_path / "t.csv", sep=separator, index=False)
        sketch = look(DraftQuestion(place=tmp_path / "t.csv"))
        assert (sketch.decimal, sketch.thousands) == marks

    def test_what_the_mapping_does_not_measure_is_left_as_it_is(self, tmp_path: Path) -> None:
        sure: list[Any] = [True, False, None, True] * (N // 4)
        table = people().assign(icd="410.1", grade="1,5", sure=sure)
        path = written(table, tmp_path / "t.csv", thousands=".", decimal=",", separator=";")
        more = [{"column": "grade", "categories": {"1,5": "middling"}}, {"column": "sure", "kind": "flag"}]
        marks = {"thousands": ".", "decimal": ","}
        cohort = read_table(path, recipe(ROWS, inputs=[*ROWS["inputs"], *more], forbidden=["icd"], **marks))
        assert {"grade=1,5", "sure"} <= set(cohort.events["code"])

    def test_numbers_beside_words_in_a_long_table_too(self, tmp_path: Path) -> None:
        rows = [(k, 0, "LAB", f"{k % 9},5") for k in range(40)] + [(k, 0, "SMOKES", "Yes") for k in range(40)]
        rows += [
            (k, day, code, "")
            for k in range(40)
            for day, code in ((50 + k, "DEATH"), (150, "END"))
            if k % 2 or day > 99
        ]
        pd.DataFrame(rows, columns=["id", "day", "code", "v"]).to_csv(tmp_path / "t.csv", sep=";", index=False)
        smokes = {"code": "SMOKES", "kind": "flag", "values": {"Yes": 1, "No": 0}}
        cohort = read_table(tmp_path / "t.csv", recipe(EVENTS, inputs=[*EVENTS["inputs"], smokes], decimal=","))
        assert set(cohort.events.loc[cohort.events["code"] == "LAB", "numeric_value"]) == {k + 0.5 for k in range(9)}

    def test_text_in_parquet_has_marks_too(self, tmp_path: Path) -> None:
        table = people()
        text = table.assign(days=[f"{day:,}" for day in table["days"]])
        text.to_parquet(tmp_path / "t.parquet")
        assert (
            read_table(tmp_path / "t.parquet", recipe(ROWS, thousands=",")).flow
            == read(records(table), tmp_path, ROWS).flow
        )

    def test_a_dot_is_no_number_where_the_comma_is_before_decimals(self, tmp_path: Path) -> None:
        path = written(people(), tmp_path / "t.csv", thousands=".", decimal=",", separator=";")
        with pytest.raises(InputError, match=r"cells have a dot, and ',' stands before decimals; take `decimal` out"):
            read_table(path, recipe(ROWS, decimal=","))

    def test_what_has_commas_is_asked_about(self, tmp_path: Path) -> None:
        path = written(people(), tmp_path / "t.csv", thousands=",", decimal=".", separator=",")
        with pytest.raises(InputError, match='declare `thousands: ","`, or `decimal: ","`; or write'):
            read_table(path, recipe(ROWS))

    def test_what_is_not_parted_by_three_is_no_number(self, tmp_path: Path) -> None:
        rows = people().assign(platelets="12,70").pipe(records)
        assert "are not numbers" in problem(rows, tmp_path, ROWS, thousands=",")

    def test_both_marks_cannot_be_one(self) -> None:
        with pytest.raises(ValidationError, match="thousands and decimal are one mark"):
            recipe(ROWS, thousands=".")


class TestWords:
    OUTCOME: ClassVar[dict[str, Any]] = {"flag": "status", "one_of": ["of cancer", "of something else"], "time": "days"}

    def rows(self) -> list[dict[str, Any]]:
        words = {0: "alive", 1: "of cancer"}
        return people().assign(status=lambda table: table["dead"].map(words)).pipe(records)

    @pytest.mark.parametrize(
        "changes",
        [
            {"outcome": OUTCOME},
            {"outcome": {"flag": "status", "equals": "of cancer", "competing": ["of something else"], "time": "days"}},
            {"outcome": {"flag": "status", "equals": "of cancer", "time": "days"},
             "exclusions": [{"column": "status", "equals": "of something else", "reason": "dead"}]},
        ],
    )  # fmt: skip
    def test_a_declared_word_that_no_cell_has_is_refused(self, changes: dict[str, Any], tmp_path: Path) -> None:
        assert "column status: no cell is 'of something else'; correct it" in problem(
            self.rows(), tmp_path, ROWS, **changes
        )

    @pytest.mark.parametrize("word", ["yes", "no"])
    def test_nor_has_a_column_of_numbers_a_word(self, word: str, tmp_path: Path) -> None:
        exclusions = [{"column": "dead", "equals": word, "reason": "dead"}]
        assert f"column dead: no cell is '{word}'" in problem(
            people().pipe(records), tmp_path, ROWS, exclusions=exclusions
        )

    def test_two_declared_cells_may_not_be_one_number(self, tmp_path: Path) -> None:
        rows = people().assign(kind=lambda table: np.where(table.index % 2, "1.1", "1.10")).pipe(records)
        kind = {"column": "kind", "categories": {"1.1": "one", "1.10": "another"}}
        assert "two declared cells are one number" in problem(rows, tmp_path, ROWS, inputs=[*ROWS["inputs"], kind])

    def test_a_flag_is_0_or_1(self, tmp_path: Path) -> None:
        rows = people().assign(arm=lambda table: 1 + table.index % 2).pipe(records)
        flag = {"column": "arm", "kind": "flag", "name": "the drug"}
        assert "cells of arm are neither 0 nor 1; say which is which by `values`" in problem(
            rows, tmp_path, ROWS, inputs=[*ROWS["inputs"], flag]
        )
        cohort = read(rows, tmp_path, ROWS, inputs=[*ROWS["inputs"], {**flag, "values": {"1": 0, "2": 1}}])
        assert set(cohort.events.loc[cohort.events["code"] == "arm", "numeric_value"]) == {0.0, 1.0}


class TestEmptyOutcomes:
    def test_a_date_of_death_alone_says_who_died(self, tmp_path: Path) -> None:
        table = people().assign(
            died=lambda table: table["days"].where(table["dead"] == 1), seen=lambda table: table["days"]
        )
        outcome, ends = {"flag": "died", "time": "died"}, {"end": "seen"}
        cohort = read(
            table.drop(columns=["dead", "days"]).pipe(records), tmp_path, ROWS, outcome=outcome, censoring=ends
        )
        assert cohort.flow == read(table.pipe(records), tmp_path, ROWS).flow

    def test_it_needs_an_end_of_follow_up(self) -> None:
        with pytest.raises(ValidationError, match=r"name the end of follow-up in `censoring\.end`"):
            recipe(ROWS, outcome={"flag": "died", "time": "died"})

    def test_an_empty_cell_is_no_event_where_the_mapping_says_so(self, tmp_path: Path) -> None:
        table = people().assign(kind=lambda table: table["dead"].map({1: "myeloma"}))
        outcome = {"flag": "kind", "equals": "myeloma", "time": "days"}
        assert "write `empty: did_not_happen`" in problem(table.pipe(records), tmp_path, ROWS, outcome=outcome)
        cohort = read(table.pipe(records), tmp_path, ROWS, outcome={**outcome, "empty": "did_not_happen"})
        assert cohort.flow == read(table.pipe(records), tmp_path, ROWS).flow


class TestLongTables:
    def rows(self, death: str = "DEATH", lab: str = "LAB") -> list[dict[str, Any]]:
        dead = [(f"A{k}", day, code, v) for k in range(40) for day, code, v in
                ((0, "LAB", k), (50, "DEATH" if k % 2 else death, None), (120, "BILL", None))]  # fmt: skip
        alive = [(f"C{k}", day, code, v) for k in range(40) for day, code, v in
                 ((0, lab if k % 2 else "LAB", k), (150, "BILL", None))]  # fmt: skip
        return [dict(zip(("id", "day", "code", "v"), row, strict=True)) for row in (*dead, *alive)]

    @pytest.mark.parametrize(("changes", "field"), [({"death": "Death"}, "outcome"), ({"lab": " LAB"}, "inputs")])
    def test_codes_that_differ_in_case_or_spaces_alone_are_refused(
        self, changes: dict[str, str], field: str, tmp_path: Path
    ) -> None:
        said = problem(self.rows(**changes), tmp_path, EVENTS)
        assert f"1 codes differ from those of `{field}` in case or spaces alone; write each in one way" in said

    def test_of_codes_with_digits_case_may_mean_something(self, tmp_path: Path) -> None:
        rows = [
            row | {"code": {"DEATH": "G30..", "Death": "g30.."}.get(row["code"], row["code"])}
            for row in self.rows("Death")
        ]
        cohort = read(rows, tmp_path, EVENTS, outcome={"codes": ["G30"]})
        assert cohort.flow.n_events == 20
        assert any("1 codes differ from those of `outcome`" in warning for warning in cohort.warnings)

    @pytest.mark.parametrize("code", ["DISCHARGE", "deathly", "XaBVj", "k"])
    def test_other_codes_are_left_alone(self, code: str, tmp_path: Path) -> None:
        rows = [*self.rows(), {"id": "A1", "day": 3, "code": code}]
        read(rows, tmp_path, EVENTS, outcome={"codes": ["DEATH", "D", "XaBVJ", "K"]}, inputs=EVENTS["inputs"])

    def test_the_flow_tells_of_who_has_no_row_of_the_rule(self, tmp_path: Path) -> None:
        others = [
            {"id": f"E{k}", "day": day, "code": code} for k in range(7) for day, code in ((0, "OTHER"), (50, "DEATH"))
        ]
        flow = read([*self.rows(), *others], tmp_path, EVENTS).flow
        assert flow.n_candidates == 87
        assert flow.excluded["no row that the index rule looks at"] == 7


class TestIds:
    @pytest.mark.parametrize("other", ["P{} ", "{}.0"])
    def test_ids_that_differ_in_what_nobody_sees_are_refused(self, other: str, tmp_path: Path) -> None:
        rows = people(80).assign(who=[f"P{k}" if other[0] == "P" else f"{k}" for k in range(80)], day=0)
        again = rows.assign(who=[other.format(k) for k in range(80)], day=30)
        said = problem(pd.concat([rows, again]).pipe(records), tmp_path, ROWS, id="who", clock="days", time="day")
        assert "160 ids differ from another in spaces or a `.0` alone; write each in one way" in said

    def test_rows_of_one_person_are_no_participants(self, tmp_path: Path) -> None:
        table = people(120).assign(patient=range(120), kind=1)
        both = pd.concat([table, table.assign(kind=2, days=table["days"] + 7)]).sample(frac=1, random_state=1)
        said = problem(both.pipe(records), tmp_path, ROWS)
        assert "120 rows follow another of the same patient that tells the same of every input" in said
        first = [{"column": "kind", "equals": 2, "reason": "second row of a patient"}]
        assert read(both.pipe(records), tmp_path, ROWS, exclusions=first).flow.n_candidates == 240

    def test_each_row_may_be_a_participant_with_a_date_of_its_own(self, tmp_path: Path) -> None:
        table = people().assign(since=lambda table: 100 + table.index, day=lambda table: table["since"] + table["days"])
        outcome = {"flag": "dead", "time": "day"}
        dated = {"clock": "days", "time": "since", "outcome": outcome, "censoring": {"end": "day"}}
        assert read(table.pipe(records), tmp_path, ROWS, **dated).flow == read(table.pipe(records), tmp_path, ROWS).flow

    @pytest.mark.parametrize("name", ["matched_set", "village", "psa"])
    def test_nor_is_what_is_not_called_so(self, name: str, tmp_path: Path) -> None:
        table = people(120)
        both = pd.concat([table, table.assign(days=table["days"] + 7)]).assign(**{name: [*range(120)] * 2})
        read(both.pipe(records), tmp_path, ROWS)

    def test_a_site_that_many_share_is_no_person(self, tmp_path: Path) -> None:
        read(people().assign(site=lambda table: table.index // 4).pipe(records), tmp_path, ROWS)


class TestHorizons:
    def rows(self) -> list[dict[str, Any]]:
        return people().assign(days=lambda table: table["days"] // 500).pipe(records)

    @pytest.mark.parametrize("days", [730, 731])
    def test_whole_days_part_no_whole_years(self, days: int, tmp_path: Path) -> None:
        outcome = {"flag": "dead", "time": {"column": "days", "unit": "years"}}
        said = problem(self.rows(), tmp_path, ROWS, outcome=outcome, horizon_days=days)
        assert f"end 2 years later, which are 730.5 days, not {days}; write `horizon_days: 730.5`" in said

    def test_a_horizon_may_be_one_of_the_tables_years(self, tmp_path: Path) -> None:
        outcome = {"flag": "dead", "time": {"column": "days", "unit": "years"}}
        flow = read(self.rows(), tmp_path, ROWS, outcome=outcome, horizon_days=730.5).flow
        table = pd.DataFrame(self.rows())
        assert flow.n_events == int(((table["dead"] == 1) & (table["days"] <= 2) & (table["days"] > 0)).sum())
        assert flow.excluded["lost before the horizon"] == int(((table["dead"] == 0) & (table["days"] < 2)).sum())


class TestNothingLeft:
    @pytest.mark.parametrize(
        ("cells", "said"), [("dead", "says on every row whether the outcome"), ("days", "runs with"), (None, "nobody")]
    )
    def test_an_only_input_that_is_none_is_told(self, cells: str | None, said: str, tmp_path: Path) -> None:
        table = people().assign(x=lambda table: table[cells] if cells else np.nan)
        if cells is None:
            flow = read(table.pipe(records), tmp_path, ROWS, inputs=[{"column": "x"}]).flow
            assert flow.n_eligible == 0
            assert flow.n_candidates == sum(flow.excluded.values()) > flow.excluded["lost before the horizon"]
        else:
            assert said in problem(table.pipe(records), tmp_path, ROWS, inputs=[{"column": "x"}])
