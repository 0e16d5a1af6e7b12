"""What becomes of a table's rows: every rule of index and follow-up, and every refusal by count."""

import gzip
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from support.cohorts.tables import LONG, WIDE, events, exams, read, recipe
from workers.cohort.tables.read import read_table
from workers.contract.errors import InputError

LONG_ROWS = events(
    ("a", "2000-03-01", "URATE", 5.5), ("a", "2000-09-01", "M10.0"), ("a", None, "SEX//F"),
    ("b", "2001-02-01T08:30:00", "ALCOHOL"), ("b", "2001-05-01", "URATE", 7), ("b", None, "SEX//M"),
    ("b", "2001-08-01", "DEATH"), ("c", "2001-02-01", "URATE", 4.0), ("c", "2000-01-01", "M10"),
)  # fmt: skip


LINE = b"1" * 999 + b"\n"


class TestWideLabels:
    @pytest.mark.parametrize(
        ("history", "label", "reason"),
        [
            ({"gout": 1, "gout_day": 1}, True, None),
            ({"gout": 1, "gout_day": 365}, True, None),
            ({"gout": 1, "gout_day": 366}, False, None),
            ({"gout": 1, "gout_day": 0}, None, "outcome before the index"),
            ({"last_day": 365}, False, None),
            ({"last_day": 364}, None, "lost before the horizon"),
            ({"last_day": 200, "dead": 1, "dead_day": 200}, False, None),
            ({"last_day": 200, "dead": 1, "dead_day": 400}, None, "lost before the horizon"),
            ({"last_day": 200, "gout": 1, "gout_day": 366}, False, None),
            ({"dead": 1, "dead_day": 0}, None, "dead before the index"),
            ({"urate": None}, None, "nothing recorded by the index"),
        ],
    )
    def test_a_rule_of_follow_up(
        self, history: dict[str, Any], label: bool | None, reason: str | None, tmp_path: Path
    ) -> None:
        cohort = read(exams(history), tmp_path, WIDE)
        assert cohort.labels["boolean_value"].tolist() == ([] if label is None else [label])
        counted = {words: count for words, count in cohort.flow.excluded.items() if count}
        assert counted == ({} if reason is None else {reason: 1})

    def test_a_gap_keeps_out_what_happens_in_it(self, tmp_path: Path) -> None:
        days = {"in the gap": 30, "first day of the window": 31}
        rows = exams(*({"who": who, "gout": 1, "gout_day": day} for who, day in days.items()))
        cohort = read(rows, tmp_path, WIDE, gap_days=30)
        assert cohort.labels["subject_id"].tolist() == ["first day of the window"]
        assert cohort.flow.excluded["outcome within the gap"] == 1

    def test_without_an_end_the_last_row_ends_follow_up(self, tmp_path: Path) -> None:
        rows = exams({"day": 0}, {"day": 364}, {"who": "008", "day": 0}, {"who": "008", "day": 365})
        cohort = read(rows, tmp_path, WIDE, censoring={}, index={"rule": "first_row"})
        assert cohort.labels["subject_id"].tolist() == ["008"]

    def test_an_identifier_is_kept_as_written(self, tmp_path: Path) -> None:
        assert read(exams({}), tmp_path, WIDE).labels["subject_id"].tolist() == ["007"]

    def test_exclusions_count_by_reason_once_a_row(self, tmp_path: Path) -> None:
        rows = exams({"a": 1, "b": "x"}, {"who": "1", "a": 0, "b": "x"}, {"who": "2", "a": 0, "b": "y"})
        reasons = [{"column": "a", "equals": 1, "reason": "ill"}, {"column": "b", "equals": "x", "reason": "away"}]
        cohort = read(rows, tmp_path, WIDE, exclusions=reasons)
        assert cohort.flow.excluded == {
            "ill": 1, "away": 1, "outcome before the index": 0, "lost before the horizon": 0
        }  # fmt: skip
        assert cohort.flow.n_candidates == cohort.flow.n_eligible + 2


class TestIndexRules:
    """One participant with exams at 50, 52 and 54 years, and one seen once at 70."""

    ROWS = exams(
        {"day": 0}, {"day": 730, "years": 52}, {"day": 1461, "years": 54}, {"who": "old", "day": 100, "years": 70}
    )

    @pytest.mark.parametrize(
        ("rule", "expected", "n_without"),
        [
            ({"rule": "every_row"}, [("007", 0), ("007", 730), ("007", 1461), ("old", 100)], 0),
            ({"rule": "first_row"}, [("007", 0), ("old", 100)], 0),
            ({"rule": "nth_row", "n": 2}, [("007", 730)], 1),
            ({"rule": "first_at_age", "age_years": 52}, [("007", 730)], 1),
            ({"rule": "first_at_age", "age_years": 51.5, "min_history_days": 731}, [("007", 1461)], 1),
            ({"rule": "first_at_age", "age_years": 60, "min_history_days": 0}, [("old", 100)], 1),
            ({"rule": "fixed_time", "time": 50}, [("007", 50)], 1),
            ({"rule": "fixed_time", "time": 800}, [("007", 800), ("old", 800)], 0),
            ({"rule": "rows_where", "column": "years", "equals": 54}, [("007", 1461)], 0),
        ],
    )
    def test_index_dates(
        self, rule: dict[str, Any], expected: list[tuple[str, int]], n_without: int, tmp_path: Path
    ) -> None:
        cohort = read(self.ROWS, tmp_path, WIDE, index=rule)
        days = (cohort.labels["prediction_time"] - pd.Timestamp("1970-01-01")).dt.days
        assert list(zip(cohort.labels["subject_id"], days, strict=True)) == expected
        assert cohort.flow.n_candidates == len(expected) + n_without
        assert sum(cohort.flow.excluded.values()) == n_without

    def test_age_goes_on_between_rows(self, tmp_path: Path) -> None:
        cohort = read(self.ROWS, tmp_path, WIDE, index={"rule": "fixed_time", "time": 1095})
        ages = cohort.events.loc[cohort.events["code"] == "AGE", "numeric_value"]
        assert ages.round(2).tolist() == [53.0, 72.72]

    def test_the_outcome_moves_no_index(self, tmp_path: Path) -> None:
        ill = [row | {"gout": 1, "gout_day": 1000} for row in self.ROWS]
        flows = [read(rows, tmp_path, WIDE, index={"rule": "nth_row", "n": 2}).flow for rows in (self.ROWS, ill)]
        assert flows[0].n_candidates == flows[1].n_candidates


class TestLong:
    def test_labels_ages_and_sexes(self, tmp_path: Path) -> None:
        cohort = read(LONG_ROWS, tmp_path, LONG)
        assert cohort.labels["subject_id"].tolist() == ["a", "b"]
        assert cohort.labels["boolean_value"].tolist() == [True, False]
        values = cohort.features(cohort.records()).table()
        assert values["AGE"].round(1).tolist() == [50.2, 51.1]
        assert values["SEX"].tolist() == [0, 1]
        assert values["ALCOHOL"].tolist() == [0, 1]
        assert cohort.flow.excluded == {"outcome before the index": 1, "lost before the horizon": 0}

    def test_an_hour_counts(self, tmp_path: Path) -> None:
        cohort = read(LONG_ROWS, tmp_path, LONG, index={"rule": "fixed_time", "time": "2001-02-01T08:00:00"})
        assert "b" not in cohort.labels["subject_id"].tolist()
        assert cohort.flow.excluded["nothing recorded by the fixed time"] == 1

    def test_an_exclusion_holds_from_its_code_on(self, tmp_path: Path) -> None:
        exclusion = {"codes": ["ALCO"], "reason": "drinks"}
        every = read(LONG_ROWS, tmp_path, LONG, index={"rule": "every_row"}, exclusions=[exclusion])
        assert every.flow.excluded["drinks"] == 2
        first = read(LONG_ROWS[:1] + LONG_ROWS[4:], tmp_path, LONG, inputs=[{"code": "URATE"}], exclusions=[exclusion])
        assert first.flow.excluded["drinks"] == 0

    def test_days_and_parquet_do_as_well(self, tmp_path: Path) -> None:
        rows = pd.DataFrame(LONG_ROWS)
        dates = pd.to_datetime(rows["when"], format="ISO8601")
        rows["when"] = (dates - pd.Timestamp("1970-01-01")).dt.total_seconds() / 86_400
        rows["value"] = rows["value"].astype("float64")
        path = tmp_path / "long.parquet"
        rows.to_parquet(path)
        by_day = read_table(path, recipe(LONG, clock="days"))
        pd.testing.assert_frame_equal(by_day.labels, read(LONG_ROWS, tmp_path, LONG).labels)

    def test_text_in_the_value_of_a_bare_code_is_not_read(self, tmp_path: Path) -> None:
        cohort = read([*LONG_ROWS, *events(("d", "2005-01-01", "ALCOHOL", "wine"))], tmp_path, LONG)
        assert cohort.events.loc[cohort.events["code"] == "ALCOHOL", "numeric_value"].isna().all()


class TestBadTables:
    def refused(
        self,
        rows: list[dict[str, Any]],
        folder: Path,
        mapping: dict[str, Any],
        **changes: Any,  # noqa: ANN401
    ) -> list[str]:
        """The problems of a table, as `column: what`; none names a participant or shows a cell."""
        with pytest.raises(InputError) as caught:
            read(rows, folder, mapping, **changes)
        assert all(problem.remedy for problem in caught.value.problems)
        message = str(caught.value)
        assert not any(secret in message for secret in ("canary", "31337"))
        return [f"{problem.where.rsplit(' ', 1)[-1]}: {problem.what}" for problem in caught.value.problems]

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"gout": 2}, "gout: 1 labels are neither 0 nor 1"),
            ({"dead": "canary"}, "dead: 1 labels are neither 0 nor 1"),
            ({"day": "canary"}, "day: 1 days are not numbers"),
            ({"day": None}, "day: 1 times are empty"),
            ({"day": 31337e9}, "day: 1 days are not numbers"),
            ({"gout": 1, "gout_day": None}, "gout_day: 1 times are empty"),
            ({"last_day": None}, "last_day: 1 times are empty"),
            ({"who": None}, "who: 1 cells are empty"),
            ({"sex": "canary"}, "sex: 1 cells are neither `male` nor `female`"),
            ({"urate": "canary"}, "urate: 1 cells are not numbers"),
            ({"years": -1}, "years: 1 rows lie before birth"),
        ],
    )
    def test_a_faulty_cell_is_counted(self, change: dict[str, Any], problem: str, tmp_path: Path) -> None:
        assert self.refused(exams({"who": "canary 1"}, {"who": "canary 2"} | change), tmp_path, WIDE) == [problem]

    def test_all_problems_come_at_once(self, tmp_path: Path) -> None:
        rows = exams({"who": "canary"}, {"who": "canary", "urate": "x", "gout": 5}, {"who": "other", "sex": "?"})
        assert self.refused(rows, tmp_path, WIDE) == [
            "who: 1 rows repeat a participant and time",
            "gout: 1 labels are neither 0 nor 1",
            "gout: 1 participants have more than one value",
            "urate: 1 cells are not numbers",
            "sex: 1 cells are neither `male` nor `female`",
        ]

    def test_missing_columns_are_named_together_with_what_is_near(self, tmp_path: Path) -> None:
        rows = exams({})
        for row in rows:
            row["Urate"] = row.pop("urate")
            del row["dead"]
        with pytest.raises(InputError, match="column urate: is missing; did you mean `Urate`") as caught:
            read(rows, tmp_path, WIDE)
        assert [problem.where.rsplit(" ", 1)[-1] for problem in caught.value.problems] == ["dead", "urate"]

    def test_a_forbidden_column_that_is_misspelt_is_missing(self, tmp_path: Path) -> None:
        assert self.refused(exams({"tophi": 1}), tmp_path, WIDE, forbidden=["tofi"]) == ["tofi: is missing"]

    def test_what_is_static_does_not_change(self, tmp_path: Path) -> None:
        rows = exams({}, {"day": 9, "urate": 7})
        found = self.refused(rows, tmp_path, WIDE, inputs=[{"column": "urate", "static": True}])
        assert found == ["urate: 1 participants have more than one value of what is static"]

    def test_rows_before_a_recorded_birth_are_counted(self, tmp_path: Path) -> None:
        rows = exams({"years": 31337})
        changes = {"age": {"column": "years", "means": "time_of_birth"}}
        assert self.refused(rows, tmp_path, WIDE, **changes) == ["years: 1 rows lie before birth"]

    @pytest.mark.parametrize(
        ("row", "problem"),
        [
            (("canary", "1949-12-31", "URATE", 5), "when: 1 events lie before birth"),
            (("canary", "canary", "ALCOHOL"), "when: 1 times are not ISO dates"),
            (("canary", None, "M10"), "when: 1 rows of outcome have no time"),
            (("canary", None, "DEATH"), "when: 1 rows of death have no time"),
            (("canary", "2001-01-01", "URATE", "high"), "value: 1 cells are not numbers"),
            (("a", "2000-09-01", "M10.0"), "who: 1 rows stand twice"),
            (("a", None, "SEX//M"), "code: 1 participants have both sexes"),
            (("a", "1951-01-01", "BIRTH"), "code: 1 participants have more than one time of birth"),
        ],
    )
    def test_a_faulty_event_is_counted(self, row: tuple[str, str | None, str], problem: str, tmp_path: Path) -> None:
        added = events(row) if row[0] != "a" else events(row)[:1]
        assert self.refused([*LONG_ROWS, *added], tmp_path, LONG) == [problem]

    def test_codes_that_never_occur_are_named(self, tmp_path: Path) -> None:
        found = self.refused(LONG_ROWS, tmp_path, LONG, inputs=[{"code": "URATES"}], outcome={"codes": ["X"]})
        assert found == ["code: 1 codes of the mapping never occur: ['URATES']", "code: 1 outcome never occurs"]

    def test_codes_in_another_case_are_counted(self, tmp_path: Path) -> None:
        rows = events(("a", "2000-03-01", "urate", 5), ("a", "2000-09-01", " M10.1"), ("a", "2000-09-02", "m10"))
        alike = "codes begin so in another case or after a space"
        assert self.refused(rows, tmp_path, LONG | {"inputs": [{"code": "URATE"}]}, sex=None) == [
            f"code: 1 codes of the mapping never occur: ['URATE'], but 1 {alike}",
            f"code: 1 outcome never occurs, but 2 {alike}",
        ]

    def test_a_participant_without_an_end_is_counted(self, tmp_path: Path) -> None:
        rows = [row for row in LONG_ROWS if (row["who"], row["code"]) != ("b", "END")]
        assert self.refused(rows, tmp_path, LONG) == ["code: 1 participants have no time of END"]

    @pytest.mark.parametrize(
        ("name", "content", "what"),
        [
            ("table.csv", b"", "has no rows; give the table itself"),
            ("table.csv", b"who,day\n", "has no rows; give the table itself"),
            ("table.csv", b"who\rday,urate\n", "1 rows have more cells, the first on line 2"),
            ("table.csv", b"\xff\xfe\x00canary", "is no text in UTF-8; save it as UTF-8"),
            ("table.csv", b'who,day\n1,2\n2,"canary\n3,4\n', "line 4 is no row of a CSV; close its quotes"),
            ("table.csv", b"canary\n1\n", "column who: is missing"),
            ("table.csv", b"who,day,who\ncanary,2,3\n", "line 1: column who stands twice; rename or remove"),
            ("table.csv", b"who,day\n1,2\n3,4,\ncanary,4,5\n", "2 rows have more cells, the first on line 3"),
            ("table.csv", b"who,day\n" + b"x" * 1_000_001, "line 2 is longer than 1,000,000 characters"),
            ("table.csv.gz", gzip.compress(random.Random(0).randbytes(10**4).hex().encode())[:-20], "EOFError"),
            (
                "table.csv.gz",
                gzip.compress(b"who\n" + LINE * 17_000),
                "unpacks to more than 200 times its size",
            ),
            ("table.csv.gz", b"canary", "can't be read beyond line 0 .BadGzipFile"),
            ("table.parquet", b"canary", "can't be read"),
            ("table.xlsx", b"canary", "is neither CSV nor Parquet"),
        ],
    )
    def test_a_file_that_is_no_table(self, name: str, content: bytes, what: str, tmp_path: Path) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=what) as caught:
            read_table(tmp_path / name, recipe(WIDE))
        assert "canary" not in str(caught.value)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="can't be read"):
            read_table(tmp_path / "none.csv", recipe(WIDE))
