"""What a cell says is taken as it was meant or refused: missing words, partial dates, time zones, numbers."""

import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.cohorts.tables import LONG, WIDE, events, exams, read, recipe
from workers.cohort.cohort import Cohort
from workers.cohort.tables.cells import Cells
from workers.cohort.tables.read import read_table
from workers.contract.errors import InputError
from workers.contract.recipes.columns import TimeColumn

# Sodium, two more codes and a participant by the names that readers of tables take for nothing.
NAMED = events(
    ("a", "2000-03-01", "URATE", 5.5), ("a", "2000-03-01", "NA", 140), ("a", "2000-03-01", "null"),
    ("NA", "2000-03-01", "None", 1), ("NA", "2001-02-01", "ALCOHOL"), ("a", "2000-09-01", "M10.0"),
)  # fmt: skip
ROWS = events(("a", "2000-03-01", "URATE", 5.5), ("a", "2000-09-01", "M10"), ("b", "2001-02-01", "ALCOHOL"))
PEOPLE = exams({}, {"who": "008", "sex": "F"})


def read_text(text: str, folder: Path, **changes: Any) -> Cohort:  # noqa: ANN401  # fields of the mapping
    (folder / "table.csv").write_text(text)
    return read_table(folder / "table.csv", recipe(LONG, sex=None, **changes))


class TestMissing:
    def test_names_that_look_missing_are_names_in_csv_as_in_parquet(self, tmp_path: Path) -> None:
        frame = pd.DataFrame(NAMED)
        by_csv = read_text(frame.to_csv(index=False), tmp_path, unlisted="kept")
        frame.assign(value=frame["value"].astype("float64")).to_parquet(tmp_path / "table.parquet")
        by_parquet = read_table(tmp_path / "table.parquet", recipe(LONG, sex=None, unlisted="kept"))
        assert by_csv.labels["subject_id"].tolist() == ["NA", "a"]
        assert {"NA", "null", "None"} <= set(by_csv.events["code"])
        pd.testing.assert_frame_equal(by_csv.events, by_parquet.events)

    @pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
    def test_what_the_mapping_declares_is_missing(self, name: str, tmp_path: Path) -> None:
        frame = pd.DataFrame([row | {"urate": -9 if row["sex"] == "F" else 6, "sex": "?"} for row in PEOPLE])
        write = frame.to_csv if name.endswith("csv") else frame.to_parquet
        write(tmp_path / name, index=False)
        events = read_table(tmp_path / name, recipe(WIDE, missing=["-9", "?"])).events
        assert events["code"].value_counts().to_dict() == {"AGE": 1, "urate": 1}

    def test_declaring_nothing_changes_no_id(self) -> None:
        assert recipe(WIDE, missing=[]).digest() == recipe(WIDE).digest() != recipe(WIDE, missing=["NA"]).digest()

    def test_a_word_that_the_mapping_looks_for_is_not_missing(self, tmp_path: Path) -> None:
        rows = [row | {"sex": "NA" if row["sex"] == "F" else "M"} for row in PEOPLE]
        cohort = read(rows, tmp_path, WIDE, sex={"column": "sex", "male": "M", "female": "NA"})
        assert sorted(cohort.events.loc[cohort.events["code"] == "SEX", "numeric_value"]) == [0, 1]

    def test_an_empty_code_is_told_by_its_row(self, tmp_path: Path) -> None:
        text = pd.DataFrame(ROWS).to_csv(index=False).replace("ALCOHOL", "")
        said = "column code: 1 cells are empty; fill them or remove the rows (the first is in data row 3)"
        with pytest.raises(InputError, match=re.escape(said)):
            read_text(text, tmp_path)


class TestTimes:
    def refused(self, new: str, folder: Path) -> str:
        with pytest.raises(InputError) as caught:
            read_text(pd.DataFrame(ROWS).to_csv(index=False).replace("2001-02-01", new), folder)
        return str(caught.value)

    @pytest.mark.parametrize("partial", ["2010", "2010-03", "201003", "2010-02-30", "0000-01-01", "03/01/2010"])
    def test_what_is_no_whole_day_is_no_date(self, partial: str, tmp_path: Path) -> None:
        assert "1 times are not ISO dates" in self.refused(partial, tmp_path)

    @pytest.mark.parametrize("zone", ["Z", "+02:00", "-0500", "+02"])
    def test_times_with_and_without_a_zone_are_not_mixed_in_a_column(self, zone: str, tmp_path: Path) -> None:
        assert "6 times have no zone, others of the column do" in self.refused(f"2001-02-01T10:00{zone}", tmp_path)

    def test_nor_in_a_table(self, tmp_path: Path) -> None:
        rows = [row | {"day": "2000-01-01T10:00Z", "last_day": "2010-01-01T10:00"} for row in PEOPLE]
        with pytest.raises(InputError, match=r"column last_day: 2 times have no zone, unlike those of \['day'\]"):
            read(rows, tmp_path, WIDE, clock="dates")

    def test_times_that_all_have_a_zone_are_read_in_utc(self, tmp_path: Path) -> None:
        text = pd.DataFrame(ROWS).to_csv(index=False)
        zoned = read_text(re.sub(r"(\d{4}-\d\d-\d\d)", r"\1T10:00+02:00", text), tmp_path)
        naive = read_text(re.sub(r"(\d{4}-\d\d-\d\d)", r"\1T08:00", text), tmp_path)
        pd.testing.assert_frame_equal(zoned.labels, naive.labels)

    def test_a_bare_date_in_another_column_is_no_contradiction(self, tmp_path: Path) -> None:
        rows = [row | {"day": "2000-01-01T10:00Z", "last_day": "9999-12-31"} for row in PEOPLE]
        assert read(rows, tmp_path, WIDE, clock="dates").flow.n_eligible == 2


@pytest.mark.parametrize("number", [float("inf"), -1e300, 9.97e36, 10**400])
def test_what_no_measurement_can_be_is_no_number(number: float | int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"column urate: 2 cells are not numbers; .* data row 1"):
        read([row | {"urate": number} for row in PEOPLE], tmp_path, WIDE)


@pytest.mark.parametrize(
    ("cell", "remedy"), [("7,5", 'declare `decimal: ","`'), ("unknown", "write numbers, and leave")]
)
def test_a_cell_that_is_no_number_is_refused_with_what_to_declare(cell: str, remedy: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"cells are not numbers; {remedy}.* declare it in `missing`"):
        read([row | {"urate": cell} for row in PEOPLE], tmp_path, WIDE)


def test_an_outcome_in_other_codes_is_refused_with_the_field_that_takes_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"column gout: 2 labels are neither 0 nor 1; .* by `equals` or `one_of`"):
        read([row | {"gout": "Yes"} for row in PEOPLE], tmp_path, WIDE)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_table_in_another_encoding_is_refused_as_such(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes("who,urate,ward\n1,2,Königin".encode(encoding))
    with pytest.raises(InputError, match="is no text in UTF-8; save it as UTF-8"):
        read_table(tmp_path / "table.csv", recipe(WIDE))


@pytest.mark.parametrize("kind", [[[1.0], [2.0]], [{"a": 1}, {"a": 2}], [b"1", b"2"], [pd.Timedelta("1h")] * 2])
def test_a_cell_that_is_no_single_value_is_refused(kind: list[Any], tmp_path: Path) -> None:
    pd.DataFrame(PEOPLE).assign(urate=kind).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(InputError, match=r"column urate: holds .*; write text, numbers or times"):
        read_table(tmp_path / "table.parquet", recipe(WIDE))


@pytest.mark.parametrize("kind", ["float16", "float32", "int8", "uint64", "decimal", "bool"])
@pytest.mark.parametrize("urate", [1, None])
def test_a_number_of_any_width_is_that_number(kind: str, urate: int | None, tmp_path: Path) -> None:
    table = pa.Table.from_pandas(pd.DataFrame(PEOPLE))
    width = pa.decimal128(22, 3) if kind == "decimal" else pa.type_for_alias(kind)
    numbers = pa.array([urate] * len(PEOPLE), pa.int8()).cast(width)
    pq.write_table(table.set_column(table.column_names.index("urate"), "urate", numbers), tmp_path / "table.parquet")
    found = read_table(tmp_path / "table.parquet", recipe(WIDE)).events
    assert found.loc[found["code"] == "urate", "numeric_value"].tolist() == [urate] * len(PEOPLE) * (urate is not None)


def test_text_of_a_parquet_table_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_pandas(pd.DataFrame(PEOPLE))
    odd = pa.array([b"\xff"] * len(PEOPLE)).view(pa.string())
    pq.write_table(table.set_column(table.column_names.index("sex"), "sex", odd), tmp_path / "table.parquet")
    with pytest.raises(InputError, match="column sex: holds text that is no UTF-8; write it as UTF-8"):
        read_table(tmp_path / "table.parquet", recipe(WIDE))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz", "table.parquet"])
def test_a_pipe_is_no_table(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="it is no regular file"):
        read_table(tmp_path / name, recipe(WIDE))


def test_numbers_are_no_dates_and_their_column_is_one_of_times_all_the_same() -> None:
    cells = Cells(Path("table.csv"), pd.DataFrame({"day": [1, 2]}), "dates", "2000-01-01")
    times = cells.times(TimeColumn(column="day"))
    assert (str(times.dtype), bool(times.isna().all()), len(cells.problems)) == ("datetime64[us]", True, 1)
