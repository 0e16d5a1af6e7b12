"""Any table through a mapping: the same cohort as the built-in loader, in words, without leaks."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from orchestrator.study.cohort import load_study_cohort
from support.cohorts.tables import LONG, WIDE, events, exams, read, recipe
from support.places import DATA, FRAMINGHAM
from support.studies.orders import COHORT
from workers.cohort.cohort import Cohort
from workers.cohort.framingham import FORBIDDEN_COLUMNS, INPUT_COLUMNS, load_framingham
from workers.cohort.sources import load_cohort
from workers.cohort.tables.read import read_table
from workers.contract.errors import InputError
from workers.contract.recipes.teaching import PromptRecipe, TemplateTeacherRecipe
from workers.examples.prompts import render_prompts
from workers.examples.rationales import write_rationales
from workers.store.published import LABELS, LEXICON, RECORDS

MAPPING = DATA / "framingham-mapping.yaml"


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
        static = mapped.features(mapped.records()).table()
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

    def test_parquet_is_read_by_its_columns_whatever_pandas_noted_beside_them(
        self, mapped: Cohort, tmp_path: Path
    ) -> None:
        path = tmp_path / "exams.parquet"
        for noted in (b"{", b"{}", b'{"index_columns": ["RANDID"], "columns": []}'):
            table = pa.Table.from_pandas(pd.read_csv(FRAMINGHAM)).replace_schema_metadata({b"pandas": noted})
            pq.write_table(table, path)
            pd.testing.assert_frame_equal(read_table(path, recipe(study_mapping()["mapping"])).labels, mapped.labels)

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
        cohort.labels.assign(split="train", boolean_value=[False, True, False]).to_parquet(tmp_path / LABELS)
        assert cohort.lexicon is not None
        (tmp_path / LEXICON).write_text(cohort.lexicon.model_dump_json())
        return tmp_path

    def test_a_prompt_says_age_sex_inputs_and_the_question(self, prepared: Path) -> None:
        texts, _ = render_prompts(prepared, PromptRecipe(template="history"))
        assert texts["prompt"].tolist()[1] == "Man, age 50. Uric acid 9, high. Gout within a year?"

    def test_the_teacher_weighs_points_of_the_mapping(self, prepared: Path) -> None:
        teacher, nowhere = TemplateTeacherRecipe(), prepared / "none"
        texts, counts = write_rationales(prepared, teacher, prompts=nowhere, endpoint=None, cache=nowhere)
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
