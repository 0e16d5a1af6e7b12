"""OMOP CDM folders: who is followed until when, what was known, and one sentence for each fault, without a cell."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.cohorts.omop_folders import (
    ALLOPURINOL,
    DIABETES,
    GOUT,
    MALE,
    MMOL,
    PEOPLE,
    URATE,
    VISIT,
    crowd,
    recipe_of,
    write_omop,
)  # fmt: skip
from workers.cohort.cohort import Cohort
from workers.cohort.omop.read import read_omop
from workers.cohort.sources import load_cohort
from workers.contract.errors import InputError
from workers.examples.history import items_by_row, write_history

OUTSIDE = "outside of every observation period"


def read(folder: Path, changes: dict[str, Any] | None = None, **rows: Sequence[dict[str, Any]]) -> Cohort:
    write_omop(folder, more=rows)
    return read_omop(folder, recipe_of(folder, **changes or {}))


def labels(cohort: Cohort) -> dict[str, bool]:
    return dict(zip(cohort.labels["subject_id"], cohort.labels["boolean_value"], strict=True))


def texts(cohort: Cohort) -> list[str]:
    assert cohort.lexicon is not None
    rows = items_by_row(cohort.records(), n_rows=len(cohort.labels))
    return [write_history(items, cohort.lexicon).text for items in rows]


class TestFollowUp:
    def test_it_ends_with_the_observation_period_of_the_index(self, tmp_path: Path) -> None:
        """Gout in time; none; two whose period ended before the horizon, of whom one had gout in another period."""
        cohort = read(tmp_path)
        assert labels(cohort) == {"1": True, "2": False}
        assert cohort.flow.excluded["lost before the horizon"] == 2
        assert cohort.censoring is not None and cohort.censoring.tolist() == [2.0, 2.0]

    def test_the_last_day_of_a_period_belongs_to_it(self, tmp_path: Path) -> None:
        for end, n_lost in (("2011-06-01", 1), ("2011-05-31", 2)):
            periods = [row | {"observation_period_end_date": end} if row["person_id"] == 3 else row
                       for row in PEOPLE["observation_period"]]  # fmt: skip
            folder = write_omop(tmp_path / end, PEOPLE | {"observation_period": periods})
            assert read_omop(folder, recipe_of(folder)).flow.excluded["lost before the horizon"] == n_lost

    def test_who_died_without_the_outcome_is_a_control_and_who_died_before_is_none(self, tmp_path: Path) -> None:
        deaths = [{"person_id": 3, "death_date": "2010-10-01"}, {"person_id": 2, "death_date": "2010-05-01"}]
        cohort = read(tmp_path, death=deaths)
        assert labels(cohort) == {"1": True, "3": False}
        assert cohort.flow.excluded["dead before the index"] == 1

    def test_death_may_be_the_outcome(self, tmp_path: Path) -> None:
        deaths = [{"person_id": 3, "death_date": "2010-10-01"}]
        assert labels(read(tmp_path, {"outcome": {"death": True}}, death=deaths)) == {"1": False, "2": False, "3": True}

    def test_every_visit_in_a_period_may_be_an_index(self, tmp_path: Path) -> None:
        more = [
            {"person_id": 2, "visit_concept_id": VISIT, "visit_start_date": day} for day in ("2011-01-01", "2016-01-01")
        ]
        changes = {"index": {"rule": "every_row"}, "outside": "ignored"}
        cohort = read(tmp_path, changes, visit_occurrence=more)
        assert cohort.labels["subject_id"].tolist() == ["1", "2", "2"]

    def test_a_fixed_day_in_no_period_is_none(self, tmp_path: Path) -> None:
        cohort = read(tmp_path, {"index": {"rule": "fixed_time", "time": "2010-11-01"}})
        assert cohort.flow.excluded[OUTSIDE] == 1

    def test_exclusions_hold_from_their_concept_on(self, tmp_path: Path) -> None:
        cohort = read(tmp_path, {"exclusions": [{"concepts": [DIABETES], "reason": "diabetic"}]})
        assert (labels(cohort), cohort.flow.excluded["diabetic"]) == ({"2": False}, 1)


class TestDescendants:
    arthritis, disease = 4291025, 4274025
    ancestry = (
        {"ancestor_concept_id": arthritis, "descendant_concept_id": GOUT},
        {"ancestor_concept_id": arthritis, "descendant_concept_id": arthritis},
        {"ancestor_concept_id": disease, "descendant_concept_id": DIABETES},
    )

    def test_a_concept_stands_for_all_below_it_where_that_is_asked_for(self, tmp_path: Path) -> None:
        below = {"outcome": {"concepts": [self.arthritis]}, "descendants": True}
        found = read(tmp_path / "below", below, concept_ancestor=self.ancestry)
        listed = read(tmp_path / "listed")
        assert labels(found) == labels(listed)
        pd.testing.assert_frame_equal(found.events, listed.events)
        assert found.forbidden == {f"CONDITION//{GOUT}"}
        with pytest.raises(InputError, match="never occurs"):
            read(tmp_path / "alone", below | {"descendants": False}, concept_ancestor=self.ancestry)

    def test_so_do_those_that_exclude_and_those_that_are_forbidden(self, tmp_path: Path) -> None:
        excluding = {"exclusions": [{"concepts": [self.disease], "reason": "diseased"}], "descendants": True}
        found = read(tmp_path / "excluding", excluding, concept_ancestor=self.ancestry)
        assert found.flow.excluded["diseased"] == 1
        hiding = {"forbidden": [self.disease], "descendants": True}
        found = read(tmp_path / "hiding", hiding, concept_ancestor=self.ancestry)
        assert f"CONDITION//{DIABETES}" not in set(found.events["code"])

    @pytest.mark.parametrize("cell", ["x", 9.5])
    def test_a_cell_that_is_no_concept_is_counted(self, cell: object, tmp_path: Path) -> None:
        odd = {"ancestor_concept_id": cell, "descendant_concept_id": GOUT}
        with pytest.raises(InputError, match=r"concept_ancestor\.csv: column ancestor_concept_id: 1 cells are"):
            read(tmp_path, {"descendants": True}, concept_ancestor=[*self.ancestry, odd])

    def test_without_the_table_that_tells_it_is_refused(self, tmp_path: Path) -> None:
        (write_omop(tmp_path) / "concept_ancestor.csv").unlink()
        with pytest.raises(InputError, match=r"concept_ancestor: is missing; put concept_ancestor\.csv or"):
            read_omop(tmp_path, recipe_of(tmp_path, descendants=True))
        assert len(read_omop(tmp_path, recipe_of(tmp_path)).labels)


def by_hand(people: dict[str, list[dict[str, Any]]]) -> dict[tuple[str, pd.Timestamp], bool]:
    """Every visit and whether gout came within a year, by a loop over visits."""
    found = {}
    for visit in people["visit_occurrence"]:
        who, index = visit["person_id"], pd.Timestamp(visit["visit_start_date"])
        own = {name: [row for row in people[name] if row["person_id"] == who] for name in people if name != "concept"}
        spans = [
            [pd.Timestamp(row[f"observation_period_{end}_date"]) for end in ("start", "end")]
            for row in own["observation_period"]
        ]
        gouts = [pd.Timestamp(row["condition_start_date"]) for row in own["condition_occurrence"]]
        gouts = [day for day in gouts if any(since <= day <= until for since, until in spans)]
        deaths = [pd.Timestamp(row["death_date"]) for row in own["death"]]
        (end,) = [until for since, until in spans if since <= index <= until]
        horizon = index + pd.Timedelta(days=365)
        if min([*gouts, *deaths], default=horizon) <= index:
            continue
        first = min((day for day in gouts if day <= end), default=None)
        has_event = first is not None and first <= horizon
        died = any(day <= min(end, horizon) for day in deaths)
        if has_event or died or end >= horizon:
            found[str(who), index] = has_event
    return found


def test_labels_are_those_of_a_loop_over_visits(tmp_path: Path) -> None:
    """People with a gap in their observation, several visits, and gout or death in either period or between."""
    generator, start = np.random.default_rng(7), pd.Timestamp("2010-01-01")

    def day(low: int, high: int) -> str:
        return str((start + pd.Timedelta(days=int(generator.integers(low, high)))).date())

    people: dict[str, list[dict[str, Any]]] = {name: [] for name in PEOPLE} | {"concept": PEOPLE["concept"]}
    for who in range(1, 121):
        people["person"].append({"person_id": who, "gender_concept_id": MALE, "year_of_birth": 1950})
        for low, high in ((0, 900), (1000, 1900)):
            span = {
                "observation_period_start_date": day(low, low + 1),
                "observation_period_end_date": day(high - 400, high),
            }
            people["observation_period"].append(span | {"person_id": who})
            visits = {day(low, high - 400) for _ in range(3)}
            people["visit_occurrence"] += [{"person_id": who, "visit_concept_id": VISIT, "visit_start_date": one}
                                           for one in sorted(visits)]  # fmt: skip
        if who % 2:
            gout = {"condition_concept_id": GOUT, "condition_start_date": day(0, 1900)}
            people["condition_occurrence"].append(gout | {"person_id": who})
        if who % 3 == 0:
            people["death"].append({"person_id": who, "death_date": day(100, 1900)})
    folder = write_omop(tmp_path, people)
    cohort = read_omop(folder, recipe_of(folder, index={"rule": "every_row"}, outside="ignored"))
    ours = zip(
        cohort.labels["subject_id"], cohort.labels["prediction_time"], cohort.labels["boolean_value"], strict=True
    )
    expected = by_hand(people)
    assert {(who, time): bool(value) for who, time, value in ours} == expected
    assert len(expected) > 300 and 30 < sum(expected.values()) < 200


class TestInputs:
    def test_a_record_reads_in_the_words_of_concepts_and_units(self, tmp_path: Path) -> None:
        """A unit parts codes; a measurement later that day, an unmapped drug and the outcome are not seen."""
        first, second = texts(read(tmp_path))
        assert first.startswith("Man, age 60. ")
        assert all(
            words in first for words in ("Urate in serum (mg/dL) 8", "Type 2 diabetes mellitus", "Outpatient Visit")
        )
        assert second.startswith("Woman, age 50. ")
        assert "Urate" not in second

    def test_parquet_and_capital_names_are_read_alike(self, tmp_path: Path) -> None:
        cohort = read(tmp_path / "a")
        write_omop(tmp_path / "b", suffix=".parquet")
        as_parquet = read_omop(tmp_path / "b", recipe_of(tmp_path / "b"))
        for path in (tmp_path / "a").iterdir():
            header, rest = path.read_text().split("\n", 1)
            path.write_text(f"{header.upper()}\n{rest}")
            path.rename(path.with_name(path.name.upper().replace(".CSV", ".csv")))
        in_capitals = read_omop(tmp_path / "a", recipe_of(tmp_path / "a"))
        for other in (as_parquet, in_capitals):
            pd.testing.assert_frame_equal(other.events, cohort.events)
            pd.testing.assert_frame_equal(other.labels, cohort.labels)

    def test_what_is_forbidden_is_no_input_and_what_has_no_concept_is_warned_of(self, tmp_path: Path) -> None:
        cohort = read(tmp_path, {"forbidden": [URATE, VISIT]})
        assert set(cohort.events["code"]) == {"AGE", "SEX", f"CONDITION//{DIABETES}"}
        assert f"CONDITION//{GOUT}" in cohort.forbidden
        assert any("no matching concept" in text for text in cohort.warnings)

    def test_a_crowd_is_a_checked_cohort(self, tmp_path: Path) -> None:
        folder = write_omop(tmp_path, crowd(600))
        cohort = load_cohort(recipe_of(folder), folder)
        assert (cohort.flow.n_eligible, set(cohort.labels["split"])) == (600, {"train", "tuning", "held_out"})


GOOD: dict[str, dict[str, Any]] = {
    "condition_occurrence": {"person_id": 2, "condition_concept_id": DIABETES, "condition_start_date": "2010-01-01"},
    "drug_exposure": {"person_id": 2, "drug_concept_id": ALLOPURINOL, "drug_exposure_start_date": "2010-01-01"},
    "measurement": {"person_id": 2, "measurement_concept_id": URATE, "measurement_date": "2010-01-01"},
    "death": {"person_id": 2, "death_date": "2012-01-01"},
    "person": {"person_id": 5, "gender_concept_id": MALE, "year_of_birth": 1950},
    "observation_period": {
        "person_id": 2, "observation_period_start_date": "2016-06-01", "observation_period_end_date": "2017-01-01"
    },
}  # fmt: skip
ENDS = "observation_period_end_date"
FAULTS = [
    (
        "condition_occurrence",
        {"condition_concept_id": 99},
        "condition_concept_id: 1 cells are no concepts of the table",
    ),
    ("measurement", {"unit_concept_id": 99}, "unit_concept_id: 1 cells are no concepts of the table `concept`"),
    ("measurement", {"value_as_number": "canary"}, "value_as_number: 1 cells are not numbers"),
    ("measurement", {"measurement_date": "2016-03-01"}, "measurement_date: 1 events lie in no observation period of"),
    ("drug_exposure", {"drug_exposure_start_date": "canary"}, "drug_exposure_start_date: 1 times are not ISO dates"),
    ("drug_exposure", {"drug_exposure_start_date": None}, "drug_exposure_start_date: 1 times are empty"),
    ("drug_exposure", {"person_id": "canary 1"}, "person_id: 1 rows are of nobody in the table `person`"),
    ("death", {"death_date": "1901-01-01"}, "death_date: 1 rows lie before their person's birth"),
    ("person", {"person_id": 1}, "person_id: 1 rows repeat a person"),
    ("person", {"year_of_birth": "canary"}, "year_of_birth: 1 cells are not numbers"),
    ("observation_period", {ENDS: "2016-01-01"}, f"{ENDS}: 1 periods end before they begin"),
    ("observation_period", {"observation_period_start_date": "2015-06-01"}, f"{ENDS}: 1 periods begin before the one"),
]


class TestFaults:
    @pytest.mark.parametrize(("table", "change", "said"), FAULTS, ids=lambda value: str(value)[:40])
    def test_a_faulty_row_is_counted(self, table: str, change: dict[str, Any], said: str, tmp_path: Path) -> None:
        with pytest.raises(InputError) as caught:
            read(tmp_path, None, **{table: [GOOD[table] | change]})
        (path, _, problem), *more = [str(problem).partition(": column ") for problem in caught.value.problems]
        assert (Path(path).name, problem[: len(said)]) == (f"{table}.csv", said)
        assert "canary" not in str(caught.value)
        assert len(more) <= 1  # a cell that is no number is no date of birth either

    @pytest.mark.parametrize("table", ["person", "death", "concept", "measurement"])
    def test_a_table_that_is_missing_is_named(self, table: str, tmp_path: Path) -> None:
        (write_omop(tmp_path) / f"{table}.csv").unlink()
        with pytest.raises(InputError, match=f"{table}: is missing; put {table}.csv or {table}.parquet there"):
            read_omop(tmp_path, recipe_of(tmp_path))

    def test_a_column_that_is_missing_is_named(self, tmp_path: Path) -> None:
        path = write_omop(tmp_path) / "drug_exposure.csv"
        pd.read_csv(path).drop(columns="drug_exposure_start_date").to_csv(path, index=False)
        with pytest.raises(
            InputError, match=r"drug_exposure\.csv: column drug_exposure_start_date: is missing; write the"
        ):
            read_omop(tmp_path, recipe_of(tmp_path))

    def test_events_outside_of_periods_may_be_ignored(self, tmp_path: Path) -> None:
        late = GOOD["measurement"] | {"measurement_date": "2008-06-01", "unit_concept_id": MMOL}
        cohort = read(tmp_path, {"outside": "ignored"}, measurement=[late])
        assert f"MEASUREMENT//{URATE}//{MMOL}" not in set(cohort.events["code"])

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"outcome": {}}, "an outcome is concepts or death"),
            ({"gap_days": 365}, "leaves no window"),
            ({"index": {"rule": "fixed_time", "time": 9}}, "index.time is no date"),
        ],
    )
    def test_a_recipe_that_can_not_be_meant_is_refused(
        self, changes: dict[str, Any], said: str, tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match=said):
            recipe_of(tmp_path, **changes)

    def test_an_outcome_that_never_occurs_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"outcome: never occurs; mend outcome\.death, or the tables"):
            read(tmp_path, {"outcome": {"death": True}})
