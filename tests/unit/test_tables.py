"""Any table through a mapping: the same cohort as the built-in loader, every index rule, every refusal by count."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from orchestrator.cohort_view import load_study_cohort
from orders import COHORT, FRAMINGHAM
from workers.cohort.cohort import Cohort
from workers.cohort.framingham import FORBIDDEN_COLUMNS, INPUT_COLUMNS, load_framingham
from workers.cohort.sources import load_cohort
from workers.cohort.tables import read_table
from workers.contract.cohorts import TableCohort
from workers.contract.errors import InputError
from workers.contract.teaching import PromptRecipe, TemplateTeacherRecipe
from workers.examples.prompts import render_prompts
from workers.examples.rationales import write_rationales
from workers.inputs import LABELS, LEXICON, RECORDS, VALUES

MAPPING = Path(__file__).parents[1] / "data" / "framingham-mapping.yaml"
DIGEST = "0" * 64

WIDE: dict[str, Any] = {
    "shape": "wide",
    "question": "Gout within a year?",
    "id": "who",
    "time": "day",
    "horizon_days": 365,
    "index": {"rule": "every_row"},
    "age": {"column": "years"},
    "sex": {"column": "sex", "male": "M", "female": "F"},
    "inputs": [
        {
            "column": "urate",
            "name": "uric acid",
            "bands": [{"below": 7, "word": ""}, {"below": None, "word": "high", "points": 2}],
        }
    ],
    "outcome": {"flag": "gout", "time": "gout_day"},
    "censoring": {"end": "last_day", "death": {"flag": "dead", "time": "dead_day"}},
}
LONG: dict[str, Any] = {
    "shape": "long",
    "question": "Gout within a year?",
    "id": "who",
    "time": "when",
    "clock": "dates",
    "code": "code",
    "value": "value",
    "horizon_days": 365,
    "index": {"rule": "first_row"},
    "age": {"code": "BIRTH"},
    "sex": {"male": "SEX//M", "female": "SEX//F"},
    "inputs": [{"code": "URATE", "kind": "number"}, {"code": "ALCOHOL"}],
    "outcome": {"codes": ["M10"]},
    "censoring": {"end": "END", "death": ["DEATH"]},
}
PERSON = {"who": "007", "day": 0, "years": 50, "sex": "M", "urate": 6.0, "gout": 0, "gout_day": None}
PERSON |= {"dead": 0, "dead_day": None, "last_day": 3000}


def recipe(mapping: dict[str, Any], **changes: Any) -> TableCohort:  # noqa: ANN401  # fields of the mapping
    content = {"source": "table", "sha256": DIGEST, "mapping": mapping | changes}
    return TableCohort.model_validate(content)


def read(rows: list[dict[str, Any]], folder: Path, mapping: dict[str, Any], **changes: Any) -> Cohort:  # noqa: ANN401
    path = folder / "table.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return read_table(path, recipe(mapping, **changes))


def exams(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of a wide table, each a change of an ordinary one."""
    return [PERSON | row for row in rows]


def events(*rows: tuple[str, str | None, str] | tuple[str, str | None, str, float | str]) -> list[dict[str, Any]]:
    """Rows of a long table: participant, date, code, value; and a birth and an end of follow-up of each participant."""
    names = ("who", "when", "code", "value")
    given = [dict.fromkeys(names) | dict(zip(names, row, strict=False)) for row in rows]
    people = sorted({row[0] for row in rows})
    frame = [{"who": who, "when": "1950-01-01", "code": "BIRTH", "value": None} for who in people]
    return given + frame + [{"who": who, "when": "2020-01-01", "code": "END", "value": None} for who in people]


def study_mapping() -> dict[str, Any]:
    cohort: dict[str, Any] = YAML(typ="safe").load(MAPPING.read_text())["cohort"]
    return cohort


@pytest.fixture(scope="module")
def mapped() -> Cohort:
    """The Framingham data through the example mapping, parsed as a study's `cohort` section is."""
    return load_cohort(load_study_cohort(MAPPING).recipe, FRAMINGHAM)


class TestFramingham:
    """The example mapping says what `framingham.py` builds in."""

    def test_flow_labels_and_splits_are_exactly_those_of_the_built_in_loader(self, mapped: Cohort) -> None:
        built_in = load_framingham(FRAMINGHAM, COHORT)
        assert mapped.flow == built_in.flow
        pd.testing.assert_frame_equal(mapped.labels, built_in.labels)

    @pytest.mark.parametrize("horizon_days", [1826, 3652])
    def test_a_planned_exam_and_another_horizon_too(self, horizon_days: int) -> None:
        index = {"rule": "rows_where", "column": "PERIOD", "equals": 3}
        changed = recipe(study_mapping()["mapping"], index=index, horizon_days=horizon_days)
        built_in_recipe = COHORT.model_copy(update={"index": "exam_3", "horizon_days": horizon_days})
        mapped, built_in = read_table(FRAMINGHAM, changed), load_framingham(FRAMINGHAM, built_in_recipe)
        assert mapped.flow == built_in.flow
        pd.testing.assert_frame_equal(mapped.labels, built_in.labels)

    def test_classical_models_see_the_values_of_the_current_exam(self, mapped: Cohort) -> None:
        built_in = load_framingham(FRAMINGHAM, COHORT).values_at_index()
        ours, theirs = mapped.values_at_index(), built_in.assign(SEX=(built_in["SEX"] == 1).astype(float))
        timed = [column for column in INPUT_COLUMNS if column not in ("SEX", "educ")]
        pd.testing.assert_frame_equal(ours[timed], theirs[timed], check_names=False)
        static = mapped.latest_values(mapped.records())
        pd.testing.assert_frame_equal(static[["SEX", "educ"]], theirs[["SEX", "educ"]], check_names=False)

    def test_every_input_has_words(self, mapped: Cohort) -> None:
        assert mapped.lexicon is not None
        assert set(mapped.lexicon.by_code) == set(INPUT_COLUMNS) == set(mapped.events["code"])
        assert mapped.lexicon.question == "Cardiovascular disease within five years?"

    def test_the_order_of_the_rows_does_not_matter(self, mapped: Cohort, tmp_path: Path) -> None:
        shuffled = tmp_path / "shuffled.parquet"
        pd.read_csv(FRAMINGHAM).sample(frac=1, random_state=5).to_parquet(shuffled)
        again = read_table(shuffled, recipe(study_mapping()["mapping"]))
        pd.testing.assert_frame_equal(again.labels, mapped.labels)
        pd.testing.assert_frame_equal(again.events, mapped.events)

    def test_outcomes_change_no_event(self, mapped: Cohort, tmp_path: Path) -> None:
        blind = tmp_path / "blind.parquet"
        ill = {"PREVCHD": 0, "PREVSTRK": 0, "CVD": 0, "DEATH": 0, "TIMECVD": 8766, "TIMEDTH": 8766}
        pd.read_csv(FRAMINGHAM).assign(**ill).to_parquet(blind)
        again = read_table(blind, recipe(study_mapping()["mapping"])).events
        labelled = again[again["subject_id"].isin(mapped.labels["subject_id"])]
        known = labelled.merge(mapped.events, on=["subject_id", "code", "time"], how="inner")
        assert len(known) == len(mapped.events)
        assert (known["numeric_value_x"] == known["numeric_value_y"]).all()


class TestWords:
    """What prompts and the template teacher make of a mapping."""

    @pytest.fixture
    def prepared(self, tmp_path: Path) -> Path:
        """A cohort of three, written as a store holds it."""
        people = {"p": 3.0, "q": 9.0, "r": 6.0}
        rows = exams(*({"who": who, "urate": urate, "last_day": 900} for who, urate in people.items()))
        cohort = read(rows, tmp_path, WIDE)
        records = cohort.records()
        records.to_parquet(tmp_path / RECORDS)
        cohort.latest_values(records).to_parquet(tmp_path / VALUES)
        cohort.labels.assign(split="train", boolean_value=[False, True, False]).to_parquet(tmp_path / LABELS)
        assert cohort.lexicon is not None
        (tmp_path / LEXICON).write_text(cohort.lexicon.model_dump_json())
        return tmp_path

    def test_a_prompt_says_age_sex_inputs_and_the_question(self, prepared: Path) -> None:
        texts, _ = render_prompts(prepared, PromptRecipe(template="history"))
        assert texts["prompt"].tolist()[1] == "Man, age 50. Uric acid 9, high. Gout within a year?"

    def test_the_teacher_weighs_points_of_the_mapping(self, prepared: Path) -> None:
        recipe, nowhere = TemplateTeacherRecipe(), prepared / "none"
        texts, counts = write_rationales(prepared, recipe, prompts=nowhere, endpoint=None, cache=nowhere)
        assert counts["threshold_points"] == 2
        assert "high uric acid 9" in texts["free_form"].tolist()[1].lower()


class TestLeaks:
    """The three leaks of the protocol, section 6.3, and any other outcome column."""

    @pytest.mark.parametrize("leak", FORBIDDEN_COLUMNS)
    def test_a_forbidden_column_is_no_input(self, leak: str) -> None:
        mapping = study_mapping()["mapping"]
        inputs = [*mapping["inputs"], {"column": leak}]
        with pytest.raises(ValidationError, match=f"'{leak}'.* tell the outcome; remove"):
            recipe(mapping, inputs=inputs)

    @pytest.mark.parametrize("leak", ["HYPERTEN", "TIMEHYP", "DEATH", "TIMEDTH", "ANGINA", "TIMEAP"])
    def test_an_outcome_that_nobody_forbade_is_refused_as_one(self, leak: str) -> None:
        mapping = study_mapping()["mapping"] | {"forbidden": [], "censoring": {"end": "TIMECVD"}}
        with pytest.raises(InputError) as caught:
            read_table(FRAMINGHAM, recipe(mapping, inputs=[*mapping["inputs"], {"column": leak, "theme": "habits"}]))
        (problem,) = caught.value.problems
        assert problem.where.endswith(f"column {leak}")
        assert "never change, as if it told the whole follow-up" in problem.what
        assert "forbidden" in problem.remedy

    @pytest.mark.parametrize("leak", ["gout", "gout_day", "last_day", "dead", "dead_day"])
    def test_what_makes_labels_is_forbidden_without_being_listed(self, leak: str) -> None:
        with pytest.raises(ValidationError, match="tell the outcome; remove"):
            recipe(WIDE, inputs=[{"column": leak}])

    @pytest.mark.parametrize("leak", ["M10", "M10.9", "DEATH//HOSPITAL", "END", "M1A"])
    def test_codes_are_forbidden_by_how_they_begin(self, leak: str) -> None:
        with pytest.raises(ValidationError, match="tell the outcome; remove"):
            recipe(LONG, inputs=[{"code": leak}], forbidden=["M1"])

    def test_no_event_after_the_last_index_is_kept(self, tmp_path: Path) -> None:
        rows = exams({"day": 0}, {"day": 400, "urate": 9.0, "years": 51})
        cohort = read(rows, tmp_path, WIDE, index={"rule": "first_row"})
        assert cohort.events["numeric_value"].tolist() == [50.0, 6.0, 1.0]

    def test_kept_codes_leave_out_what_is_forbidden(self, tmp_path: Path) -> None:
        rows = events(
            ("a", "2001-01-01", "URATE", 5), ("a", "2001-01-01", "ALCOHOL"), ("a", "2000-01-01", "M10"),
            ("a", "2000-01-01", "REFERRAL//GOUT"), ("a", "2000-06-01", "FLU"), ("b", "2003-01-01", "FLU"),
        )  # fmt: skip
        cohort = read(
            rows, tmp_path, LONG, unlisted="kept", sex=None, forbidden=["REFERRAL"], index={"rule": "every_row"}
        )
        assert set(cohort.events["code"]) == {"FLU", "AGE"}
        assert cohort.flow.excluded["outcome before the index"] == 2


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
    ROWS = events(
        ("a", "2000-03-01", "URATE", 5.5), ("a", "2000-09-01", "M10.0"), ("a", None, "SEX//F"),
        ("b", "2001-02-01T08:30:00", "ALCOHOL"), ("b", "2001-05-01", "URATE", 7), ("b", None, "SEX//M"),
        ("b", "2001-08-01", "DEATH"), ("c", "2001-02-01", "URATE", 4.0), ("c", "2000-01-01", "M10"),
    )  # fmt: skip

    def test_labels_ages_and_sexes(self, tmp_path: Path) -> None:
        cohort = read(self.ROWS, tmp_path, LONG)
        assert cohort.labels["subject_id"].tolist() == ["a", "b"]
        assert cohort.labels["boolean_value"].tolist() == [True, False]
        values = cohort.latest_values(cohort.records())
        assert values["AGE"].round(1).tolist() == [50.2, 51.1]
        assert values["SEX"].tolist() == [0, 1]
        assert values["ALCOHOL"].tolist() == [0, 1]
        assert cohort.flow.excluded == {"outcome before the index": 1, "lost before the horizon": 0}

    def test_an_hour_counts(self, tmp_path: Path) -> None:
        cohort = read(self.ROWS, tmp_path, LONG, index={"rule": "fixed_time", "time": "2001-02-01T08:00:00"})
        assert "b" not in cohort.labels["subject_id"].tolist()
        assert cohort.flow.excluded["nothing recorded by the fixed time"] == 1

    def test_an_exclusion_holds_from_its_code_on(self, tmp_path: Path) -> None:
        exclusion = {"codes": ["ALCO"], "reason": "drinks"}
        every = read(self.ROWS, tmp_path, LONG, index={"rule": "every_row"}, exclusions=[exclusion])
        assert every.flow.excluded["drinks"] == 2
        first = read(self.ROWS[:1] + self.ROWS[4:], tmp_path, LONG, inputs=[{"code": "URATE"}], exclusions=[exclusion])
        assert first.flow.excluded["drinks"] == 0

    def test_days_and_parquet_do_as_well(self, tmp_path: Path) -> None:
        rows = pd.DataFrame(self.ROWS)
        dates = pd.to_datetime(rows["when"], format="ISO8601")
        rows["when"] = (dates - pd.Timestamp("1970-01-01")).dt.total_seconds() / 86_400
        rows["value"] = rows["value"].astype("float64")
        path = tmp_path / "long.parquet"
        rows.to_parquet(path)
        by_day = read_table(path, recipe(LONG, clock="days"))
        pd.testing.assert_frame_equal(by_day.labels, read(self.ROWS, tmp_path, LONG).labels)

    def test_text_in_the_value_of_a_bare_code_is_not_read(self, tmp_path: Path) -> None:
        cohort = read([*self.ROWS, *events(("d", "2005-01-01", "ALCOHOL", "wine"))], tmp_path, LONG)
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
        assert self.refused([*TestLong.ROWS, *added], tmp_path, LONG) == [problem]

    def test_codes_that_never_occur_are_named(self, tmp_path: Path) -> None:
        found = self.refused(TestLong.ROWS, tmp_path, LONG, inputs=[{"code": "URATES"}], outcome={"codes": ["X"]})
        assert found == ["code: 1 codes of the mapping never occur: ['URATES']", "code: 1 outcome never occurs"]

    def test_a_participant_without_an_end_is_counted(self, tmp_path: Path) -> None:
        rows = [row for row in TestLong.ROWS if (row["who"], row["code"]) != ("b", "END")]
        assert self.refused(rows, tmp_path, LONG) == ["code: 1 participants have no time of END"]

    @pytest.mark.parametrize(
        ("name", "content", "what"),
        [
            ("table.csv", b"", "can't be read"),
            ("table.csv", b"\xff\xfe\x00canary", "can't be read"),
            ("table.csv", b'who,day\n1,"canary\n2,3\n', "can't be read"),
            ("table.csv", b"canary\n1\n", "column who: is missing"),
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


class TestMapping:
    """What a mapping can't say; each message tells what to write."""

    @pytest.mark.parametrize(
        ("base", "changes", "message"),
        [
            (WIDE, {"horizon_days": -1}, "greater than or equal to 1"),
            (WIDE, {"gap_days": 365}, "leaves no window; make it less than horizon_days"),
            (WIDE, {"inputs": [{"column": "urate"}, {"column": "urate"}]}, "stand twice .* keep one"),
            (WIDE, {"inputs": [{"column": "AGE"}]}, "name them under `age` and `sex`"),
            (WIDE, {"inputs": [{"column": "day"}]}, "are id or time; remove them"),
            (WIDE, {"index": {"rule": "first_at_age", "age_years": 60}, "age": None}, "add `age`"),
            (WIDE, {"index": {"rule": "fixed_time", "time": "2000-01-01"}}, "write a number of days"),
            (LONG, {"index": {"rule": "fixed_time", "time": 3}}, "an ISO date"),
            (LONG, {"index": {"rule": "rows_where", "column": "x", "equals": 1}}, "rows_where"),
            (LONG, {"value": None}, "name the `value` column"),
            (LONG, {"inputs": []}, "list inputs, or write `unlisted: kept`"),
            (WIDE, {"themes": ["joints"]}, "add them there"),
            (WIDE, {"shape": "square"}, "shape"),
        ],
    )
    def test_a_contradiction_is_refused(self, base: dict[str, Any], changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            recipe(base, **changes)

    def test_all_contradictions_come_at_once(self) -> None:
        with pytest.raises(ValidationError, match=r"stand twice.*leaves no window.*are id or time"):
            recipe(WIDE, gap_days=400, inputs=[{"column": "day"}, {"column": "day"}])

    def test_a_study_file_is_told_the_line_and_what_to_do(self, tmp_path: Path) -> None:
        path = tmp_path / "cohort.yaml"
        leaking = "    inputs:\n      - {column: HYPERTEN, theme: habits}\n"
        path.write_text(MAPPING.read_text().replace("    inputs:\n", leaking))
        with pytest.raises(InputError) as caught:
            load_study_cohort(path)
        (problem,) = caught.value.problems
        assert (problem.line, problem.where) == (8, "cohort.mapping")
        assert problem.what == "['HYPERTEN'] tell the outcome"
        assert problem.remedy == "remove them from inputs, age and sex"

    def test_defaults_written_out_change_no_id(self) -> None:
        spelt = recipe(WIDE, gap_days=0, clock="days", forbidden=[])
        assert spelt.digest() == recipe(WIDE).digest()
        assert recipe(WIDE, gap_days=1).digest() != recipe(WIDE).digest()
