"""Published tables as they come: years, words, categories, one row a participant, intervals, visits as columns."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from orchestrator.study.cohort import load_study_cohort
from support.cohorts.tables import LONG, PERSON, WIDE, events, exams, read, recipe
from workers.cohort.cohort import Cohort
from workers.cohort.lexicon import Lexicon
from workers.cohort.tables.read import read_table
from workers.contract.errors import InputError
from workers.examples.audit.grounding import ground
from workers.examples.audit.words import vocabulary_of
from workers.examples.history import facts_of_items, items_by_row, write_history

# One row a participant, as registries are published: years to what came first, and which it was.
REGISTRY: dict[str, Any] = {
    "shape": "wide",
    "question": "Dead within three years?",
    "id": "row",
    "clock": "none",
    "horizon_days": 1096,
    "outcome": {"flag": "status", "equals": "dead", "competing": ["transplanted"], "lost": ["alive"],
                "time": {"column": "years", "unit": "years"}},
    "inputs": [
        {"column": "drug", "categories": {"placebo": "a placebo", "active": {"word": "the drug", "points": -1}}},
        {"column": "edema", "values": {"0": 0, "0.5": 0.5, "1": 1},
         "categories": {"0": "none", "0.5": "mild", "1": {"word": "severe in spite of treatment", "points": 2}}},
        {"column": "spiders", "kind": "flag", "absent": "no spiders", "values": {"Yes": 1, "No": 0}},
    ],
}  # fmt: skip
PATIENTS: list[dict[str, Any]] = [
    {"years": 0.5, "status": "dead", "drug": "placebo", "edema": 1, "spiders": "Yes"},
    {"years": 1.0, "status": "transplanted", "drug": "active", "edema": 0.5, "spiders": "No"},
    {"years": 1.5, "status": "alive", "drug": "active", "edema": 0, "spiders": "No"},
    {"years": 14.2, "status": "alive", "drug": None, "edema": 0, "spiders": None},
    {"years": 3.5, "status": "dead", "drug": "placebo", "edema": 0, "spiders": "No"},
]


def texts(cohort: Cohort) -> list[str]:
    assert cohort.lexicon is not None
    rows = items_by_row(cohort.records(), n_rows=len(cohort.labels))
    return [write_history(items, cohort.lexicon).text for items in rows]


def refused(rows: list[dict[str, Any]], folder: Path, mapping: dict[str, Any], **changes: Any) -> list[str]:  # noqa: ANN401
    """The problems of a table, as `column: what`; none shows a cell."""
    with pytest.raises(InputError) as caught:
        read(rows, folder, mapping, **changes)
    assert "canary" not in str(caught.value)
    return [f"{problem.where.rsplit(' ', 1)[-1]}: {problem.what}" for problem in caught.value.problems]


class TestOneRowAParticipant:
    def test_years_and_words_become_labels(self, tmp_path: Path) -> None:
        """Dead in time; transplanted first, a control; lost; seen beyond the horizon; dead beyond it."""
        cohort = read(PATIENTS, tmp_path, REGISTRY)
        assert cohort.labels[["subject_id", "boolean_value"]].to_numpy().tolist() == [
            ["1", True], ["2", False], ["4", False], ["5", False]
        ]  # fmt: skip
        assert cohort.flow.excluded["lost before the horizon"] == 1

    def test_several_words_are_one_outcome(self, tmp_path: Path) -> None:
        outcome = {"flag": "status", "one_of": ["dead", "transplanted"], "time": {"column": "years", "unit": "years"}}
        assert read(PATIENTS, tmp_path, REGISTRY, outcome=outcome).flow.n_events == 2

    def test_without_a_time_the_outcome_is_that_of_the_horizon(self, tmp_path: Path) -> None:
        outcome = {"flag": "status", "equals": "dead"}
        flow = read(PATIENTS, tmp_path, REGISTRY, outcome=outcome, forbidden=["years"]).flow
        assert (flow.n_eligible, flow.n_events) == (5, 2)

    def test_an_id_may_be_a_column_and_stands_once(self, tmp_path: Path) -> None:
        rows = [row | {"who": f"p{place % 4}"} for place, row in enumerate(PATIENTS)]
        said = "who: 1 rows repeat a participant and time"
        assert said in refused(rows, tmp_path, REGISTRY, id="who")
        assert set(read(rows[:4], tmp_path, REGISTRY, id="who").labels["subject_id"]) == {"p0", "p1", "p3"}

    def test_a_word_of_no_kind_is_counted(self, tmp_path: Path) -> None:
        rows = [*PATIENTS, PATIENTS[0] | {"status": "canary"}, PATIENTS[0] | {"status": None}]
        assert refused(rows, tmp_path, REGISTRY) == [
            "status: 1 cells are empty", "status: 1 cells are neither the outcome, nor competing, nor lost"
        ]  # fmt: skip

    def test_a_time_before_its_own_row_is_refused(self, tmp_path: Path) -> None:
        for column, time in (("years", -0.5), ("death_day", -3)):
            rows = [row | {"late": 1, "death_day": 9} for row in PATIENTS]
            death = {"death": {"flag": "late", "time": "death_day"}}
            assert refused([*rows, rows[0] | {column: time}], tmp_path, REGISTRY, censoring=death) == [
                f"{column}: 1 times are negative, before the row that is their index"
            ]

    def test_what_is_static_alone_is_a_record(self, tmp_path: Path) -> None:
        static = {"column": "drug", "categories": {"placebo": "", "active": ""}, "static": True}
        rows = [row | {"sex": "m"} for row in PATIENTS]
        flow = read(rows, tmp_path, REGISTRY, inputs=[static], sex={"column": "sex", "male": "m", "female": "w"}).flow
        assert flow.n_eligible == 3
        assert flow.excluded["nothing recorded by the index"] == 1

    def test_a_word_in_another_case_is_counted_by_the_word_of_the_mapping(self, tmp_path: Path) -> None:
        rows = [*PATIENTS, *[row | {"status": "Dead", "drug": "ACTIVE  ", "spiders": "yes"} for row in PATIENTS[:2]]]
        words = {"placebo": "", "active": ""}
        found = refused(rows, tmp_path, REGISTRY | {"inputs": [
            {"column": "drug", "categories": words}, {"column": "spiders", "values": {"Yes": 1, "No": 0}}
        ]})  # fmt: skip
        alike = "cells differ from '{}' in case or spaces alone"
        assert found == [f"{column}: 2 {alike.format(said)}" for column, said in (
            ("status", "dead"), ("drug", "active"), ("spiders", "Yes")
        )]  # fmt: skip

    def test_what_becomes_known_later_is_not_seen(self, tmp_path: Path) -> None:
        rows = [row | {"relapse": 1, "relapse_day": day} for row, day in zip(PATIENTS, [0, 9, 9, 9, None], strict=True)]
        later = {"column": "relapse", "kind": "flag", "known": "relapse_day"}
        cohort = read(rows, tmp_path, REGISTRY, inputs=[*REGISTRY["inputs"], later])
        assert cohort.events.loc[cohort.events["code"] == "relapse", "subject_id"].tolist() == ["1"]


class TestWords:
    def test_a_prompt_says_the_declared_words(self, tmp_path: Path) -> None:
        question = "Dead within three years?"
        assert texts(read(PATIENTS, tmp_path, REGISTRY)) == [
            f"Drug: a placebo. Edema: severe in spite of treatment. Spiders. {question}",
            f"Drug: the drug. Edema: mild. No spiders. {question}",
            f"Edema: none. {question}",
            f"Drug: a placebo. Edema: none. No spiders. {question}",
        ]

    def test_what_has_no_order_is_a_flag_a_word_and_what_has_one_a_number(self, tmp_path: Path) -> None:
        cohort = read(PATIENTS, tmp_path, REGISTRY)
        table = cohort.features(cohort.records()).table().astype(object).where(lambda cells: cells.notna(), None)
        assert table.to_dict("list") == {
            "drug=active": [0, 1, None, 0], "drug=placebo": [1, 0, None, 1], "edema": [1, 0.5, 0, 0],
            "spiders": [1, 0, None, 0],
        }  # fmt: skip

    @pytest.mark.parametrize("text", ["drug: a placebo", "edema: severe in spite of treatment", "spiders"])
    def test_the_audit_reads_them(self, text: str, tmp_path: Path) -> None:
        cohort = read(PATIENTS, tmp_path, REGISTRY)
        lexicon = cohort.lexicon or Lexicon(question="", concepts=())
        first, *_, last = items_by_row(cohort.records(), n_rows=len(cohort.labels))
        said = f"{text} raises the risk."
        assert [claim.is_supported for claim in self.judged(said, first, lexicon)] == [True]
        if "placebo" not in text:
            assert [claim.is_contradicted for claim in self.judged(said, last, lexicon)] == [True]

    def judged(self, text: str, items: Any, lexicon: Lexicon) -> Any:  # noqa: ANN401
        return ground(text, facts_of_items(items, lexicon), vocabulary=vocabulary_of(lexicon)).judged

    def test_a_word_that_is_not_declared_is_counted(self, tmp_path: Path) -> None:
        row = PATIENTS[0] | {"drug": "canary", "edema": 2, "spiders": "canary"}
        assert refused([*PATIENTS, row], tmp_path, REGISTRY) == [
            "drug: 1 cells are none of `categories` of drug",
            "edema: 1 cells are none of `values` of edema",
            "spiders: 1 cells are none of `values` of spiders",
        ]

    def test_a_long_table_has_them_too(self, tmp_path: Path) -> None:
        rows = events(
            ("a", "2000-03-01", "SMOKING", "NA"), ("a", "2000-03-01", "ECG", "abnormal"),
            ("a", "2000-09-01", "M10"), ("b", "2001-02-01", "SMOKING", "never"),
        )  # fmt: skip
        inputs = [
            {"code": "SMOKING", "categories": {"never": "", "NA": "not asked"}},
            {"code": "ECG", "kind": "flag", "values": {"normal": 0, "abnormal": 1}},
        ]
        cohort = read(rows, tmp_path, LONG, inputs=inputs, sex=None, index={"rule": "every_row"})
        assert [text.removesuffix(" Gout within a year?") for text in texts(cohort)] == [
            "Person, age 50. ECG. SMOKING: not asked.", "Person, age 51. SMOKING: never."
        ]  # fmt: skip
        wrong = [*rows, *events(("c", "2001-02-01", "ECG", "canary"))]
        assert refused(wrong, tmp_path, LONG, inputs=inputs, sex=None) == [
            "value: 1 cells are none of `values` of ECG"
        ]  # fmt: skip


class TestClocks:
    @pytest.mark.parametrize(("unit", "days"), [("weeks", 7), ("months", 365.25 / 12), ("years", 365.25)])
    def test_a_clock_may_count_anything(self, unit: str, days: float, tmp_path: Path) -> None:
        rows = exams({"gout": 1, "gout_day": 100}, {"who": "b"}, {"who": "c", "last_day": 364})
        by_day = read(rows, tmp_path, WIDE)
        assert by_day.labels["boolean_value"].tolist() == [True, False]
        assert read(counted(rows, WHEN, days), tmp_path, WIDE, clock=unit).flow == by_day.flow
        for column in WHEN[1:]:
            assert read(counted(rows, [column], days), tmp_path, MIXED[column](unit)).flow == by_day.flow

    @pytest.mark.parametrize(("form", "cell"), [("%Y", 2010), ("%Y-%m", "2010-01"), ("%d.%m.%Y", "01.01.2010")])
    def test_a_declared_form_of_dates_is_read(self, form: str, cell: str | int, tmp_path: Path) -> None:
        rows = exams({"day": cell, "last_day": "2012-06-01", "years": "1950"})
        age = {"column": "years", "means": "time_of_birth", "format": "%Y"}
        cohort = read(rows, tmp_path, WIDE, clock="dates", time={"column": "day", "format": form}, age=age)
        assert cohort.labels["prediction_time"].tolist() == [pd.Timestamp("2010-01-01")]
        assert texts(cohort)[0].startswith("Man, age 60.")
        rows = exams({"day": "canary", "last_day": "2012-06-01", "years": "1950"})
        found = refused(rows, tmp_path, WIDE, clock="dates", time={"column": "day", "format": form}, age=age)
        assert found[0] == f"day: 1 times are not {form}"

    def test_a_time_alone_is_hashed_as_ever(self) -> None:
        assert recipe(WIDE, time={"column": "day"}).digest() == recipe(WIDE).digest()
        assert recipe(WIDE, time={"column": "day", "unit": "years"}).digest() != recipe(WIDE).digest()


def counted(rows: list[dict[str, Any]], columns: Sequence[str], days: float) -> list[dict[str, Any]]:
    """The same rows with some times in another unit."""
    return [row | {name: row[name] / days for name in columns if row[name] is not None} for row in rows]


WHEN = ("day", "gout_day", "dead_day", "last_day")
MIXED: dict[str, Any] = {
    "gout_day": lambda unit: WIDE | {"outcome": {"flag": "gout", "time": {"column": "gout_day", "unit": unit}}},
    "dead_day": lambda unit: (
        WIDE
        | {"censoring": {"end": "last_day", "death": {"flag": "dead", "time": {"column": "dead_day", "unit": unit}}}}
    ),
    "last_day": lambda unit: WIDE | {"censoring": WIDE["censoring"] | {"end": {"column": "last_day", "unit": unit}}},
}


class TestIntervals:
    """Start-stop rows: the flag is that of the row, and holds at its end."""

    MAPPING: dict[str, Any] = WIDE | {
        "time": "start", "stop": "stop", "outcome": {"flag": "gout"}, "censoring": {}, "index": {"rule": "first_row"}
    }  # fmt: skip

    def rows(self, *spans: tuple[str, int, int, int]) -> list[dict[str, Any]]:
        names = ("who", "start", "stop", "gout")
        return [PERSON | dict(zip(names, span, strict=True)) for span in spans]

    def test_the_outcome_comes_at_the_end_of_its_row(self, tmp_path: Path) -> None:
        spans = [("a", 0, 50, 0), ("a", 50, 90, 1), ("b", 0, 400, 0), ("c", 0, 90, 0), ("c", 90, 300, 0)]
        cohort = read(self.rows(*spans), tmp_path, self.MAPPING)
        assert cohort.labels[["subject_id", "boolean_value"]].to_numpy().tolist() == [["a", True], ["b", False]]
        assert cohort.flow.excluded["lost before the horizon"] == 1

    def test_rows_neither_overlap_nor_run_backwards(self, tmp_path: Path) -> None:
        rows = self.rows(("a", 0, 50, 0), ("a", 40, 90, 1), ("b", 5, 4, 0))
        assert refused(rows, tmp_path, self.MAPPING) == [
            "stop: 1 rows end before they begin", "stop: 1 rows begin before the one before ends"
        ]  # fmt: skip


class TestVisits:
    """One row a participant, a column a measure and visit."""

    MAPPING: dict[str, Any] = WIDE | {
        "time": None, "visits": {"bl": 0, "y1": 365}, "inputs": [{"column": "urate_{visit}", "name": "uric acid"}],
        "age": None,
    }  # fmt: skip
    ROWS: tuple[dict[str, Any], ...] = (
        PERSON | {"urate_bl": 5, "urate_y1": 7},
        PERSON | {"who": "b", "urate_bl": 6, "urate_y1": None, "gout": 1, "gout_day": 300},
    )

    def test_each_visit_with_an_input_is_a_row(self, tmp_path: Path) -> None:
        cohort = read([*self.ROWS], tmp_path, self.MAPPING)
        assert texts(cohort) == [
            f"Man. Uric acid {urate}. Gout within a year?" for urate in (5, 7, 6)
        ]  # fmt: skip
        assert cohort.labels["boolean_value"].tolist() == [False, False, True]

    def test_a_column_may_hold_the_time_of_each(self, tmp_path: Path) -> None:
        rows = [row | {"day_bl": 0, "day_y1": 400 + place} for place, row in enumerate(self.ROWS)]
        cohort = read(rows, tmp_path, self.MAPPING, time="day_{visit}", visits={"bl": None, "y1": None})
        assert (cohort.labels["prediction_time"] - pd.Timestamp("1970-01-01")).dt.days.tolist() == [0, 400, 0]

    def test_a_faulty_cell_is_told_by_its_row_in_the_file(self, tmp_path: Path) -> None:
        rows = [*self.ROWS, *({"who": f"c{n}"} for n in range(3)), PERSON | {"who": "d", "urate_y1": "canary"}]
        with pytest.raises(InputError, match=r"urate_\{visit\}: 1 cells are not numbers.* data row 6"):
            read([PERSON | {"urate_bl": None} | row for row in rows], tmp_path, self.MAPPING)

    def test_visits_without_any_input_are_refused(self, tmp_path: Path) -> None:
        empty = [row | {"urate_bl": None, "urate_y1": None} for row in self.ROWS]
        with pytest.raises(InputError, match="no visit holds an input"):
            read(empty, tmp_path, self.MAPPING)

    def test_what_prompts_call_it_is_asked_for(self) -> None:
        with pytest.raises(ValidationError, match=r"prompts would say \['urate_\{visit\}'\] as they are; give each"):
            recipe(self.MAPPING, inputs=[{"column": "urate_{visit}"}])

    def test_a_visit_without_its_column_is_named(self, tmp_path: Path) -> None:
        assert refused([*self.ROWS], tmp_path, self.MAPPING, visits={"bl": 0, "y2": 730}) == [
            "urate_y2: is missing"
        ]  # fmt: skip


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("name", ["table.csv", "table.tsv"])
def test_separators_are_found(separator: str, name: str, tmp_path: Path) -> None:
    frame = pd.DataFrame(exams({"urate": 6.5}, {"who": "008, the younger", "urate": 7.25}))
    frame.to_csv(tmp_path / name, sep=separator, index=False, decimal=",")
    cohort = read_table(tmp_path / name, recipe(WIDE, decimal=","))
    assert cohort.labels["subject_id"].tolist() == ["007", "008, the younger"]
    assert cohort.events.loc[cohort.events["code"] == "urate", "numeric_value"].tolist() == [6.5, 7.25]


@pytest.mark.parametrize(
    ("mapping", "changes", "message"),
    [
        (WIDE, {"time": None}, "name its column, or write `clock: none`"),
        (WIDE, {"clock": "none"}, "remove time, stop and visits"),
        (WIDE, {"clock": "dates", "time": {"column": "day", "unit": "years"}}, r"remove it from \['day'\]"),
        (WIDE, {"time": {"column": "day", "format": "%Y"}}, "or write `clock: dates`"),
        (WIDE, {"outcome": {"flag": "gout"}}, "outcome.time is missing"),
        (WIDE, {"outcome": {"flag": "gout", "time": "t", "equals": 1, "one_of": [2]}}, "keep one of them"),
        (WIDE, {"outcome": {"flag": "gout", "time": "t", "lost": [1]}}, "keep it in one"),
        (WIDE, {"index": {"rule": "rows_where", "column": "x"}}, "add `equals` or `one_of`"),
        (REGISTRY, {"outcome": {"flag": "status", "equals": "dead", "lost": ["alive"]}}, "outcome.time is missing"),
        (TestVisits.MAPPING, {"visits": {"bl": 0, "y1": None}}, "write all of one kind"),
        (TestVisits.MAPPING, {"clock": "dates"}, "write all of one kind"),
        (TestVisits.MAPPING, {"inputs": [{"column": "urate"}]}, "mend inputs or visits"),
        (LONG, {"clock": "none"}, "write another `clock`"),
    ],
)  # fmt: skip
def test_what_a_mapping_can_not_mean_is_refused(mapping: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        recipe(mapping, **changes)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("{column: day, unit: yeers}", "cohort.mapping.time.unit: yeers is not days or weeks or months or years; did"),
        ("{column: day, unti: years}", "cohort.mapping.time.unti: is not a known key; did you mean `unit`?"),
        ("5", "cohort.mapping.time: 5 is not text or a mapping; write "),
    ],
)  # fmt: skip
def test_a_time_that_is_written_wrongly_has_one_line(written: str, problem: str, tmp_path: Path) -> None:
    content = json.dumps({"source": "table", "file": "x.csv", "sha256": "0" * 64, "mapping": WIDE | {"time": "TIME"}})
    (tmp_path / "study.yaml").write_text(f"cohort: {content}\n".replace('"TIME"', written))
    with pytest.raises(InputError) as caught:
        load_study_cohort(tmp_path / "study.yaml")
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"line 1: {problem}")


def test_a_missing_cell_is_no_declared_word(tmp_path: Path) -> None:
    rows = exams({"urate": 1, "weight": 80}, {"who": "b", "urate": None, "weight": 90})
    inputs = [{"column": "urate", "categories": {"high": "", "1": "low"}}, {"column": "weight"}]
    said = ("Urate: low. Weight 80", "Weight 90")
    cohort = read(rows, tmp_path, WIDE, inputs=inputs)
    assert texts(cohort) == [f"Man, age 50. {words}. Gout within a year?" for words in said]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"values": {"a": 1}, "categories": {"b": ""}}, "name the same in both"),
        ({"values": {"a": 1, "b": 1}, "categories": {"a": "", "b": ""}}, "give each its own"),
        ({"categories": {"a": ""}, "points": 2}, "write `categories` with words and points"),
    ],
)
def test_words_that_contradict_each_other_are_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        recipe(WIDE, inputs=[{"column": "urate", **words}])
