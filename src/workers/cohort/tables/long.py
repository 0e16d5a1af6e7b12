"""A long table in one form: one row an event of a participant, with a code, a time (empty: static) and maybe a number.

The words that stand for a number in a bare code's value are not read.
"""

from collections.abc import Collection, Iterable, Sequence

import pandas as pd

from workers.cohort.tables.cells import Cells
from workers.cohort.tables.follow_up import EVER, NEVER, TableHistory
from workers.cohort.tables.values import values_of
from workers.contract.recipes.mapping import LongMapping
from workers.contract.recipes.table_inputs import LongInput
from workers.contract.recipes.words import SEX

SHORTEST_WORD = 4


def columns_of(mapping: LongMapping) -> set[str]:
    """Every column that the table must have."""
    return {mapping.id, mapping.time.column, mapping.code, *([mapping.value] if mapping.value else [])}


def text_columns_of(mapping: LongMapping) -> set[str]:
    """The columns that are kept as they are written."""
    return {mapping.id, mapping.code, *([mapping.time.column] if mapping.clock == "dates" else [])}


def read_long(cells: Cells, mapping: LongMapping) -> TableHistory:
    """Check a long table and bring it into one form.

    Raises:
        InputError: With every problem of the table; counts, never rows.
    """
    rows = pd.DataFrame(
        {
            "subject_id": cells.ids(mapping.id),
            "time": cells.times(mapping.time),
            "code": cells.text(mapping.code),
        }
    )
    rows = rows.assign(numeric_value=_values(cells, mapping, rows["code"]))
    repeats = int(cells.rows.duplicated().sum())
    cells.count(mapping.id, repeats, "rows stand twice", "keep one of each")
    _check_codes(cells, mapping, rows["code"])
    people = _people(cells, mapping, rows)
    ages = _ages(cells, mapping, rows, people)
    seen = rows[_is_input(mapping, rows["code"])]
    sexes = _sexes(cells, mapping, rows)
    bars = _bars(mapping, rows)
    said = [_said(cells, mapping, seen, entry) for entry in mapping.inputs if entry.declared]
    plain = seen[~seen["code"].isin([entry.code for entry in mapping.inputs if entry.declared])]
    events = pd.concat([plain, *said, sexes], ignore_index=True)
    cells.refuse()
    visits = seen[["subject_id", "time"]].dropna().drop_duplicates()
    visits = visits.sort_values(["subject_id", "time"]).reset_index(drop=True)
    return TableHistory(events=events, visits=visits, ages=ages, bars=bars, people=people)


def _values(cells: Cells, mapping: LongMapping, codes: "pd.Series[str]") -> "pd.Series[float]":
    """Numbers; judged where the mapping says that a code has one."""
    if mapping.value is None:
        return pd.Series(float("nan"), index=codes.index)
    numeric = [entry.code for entry in mapping.inputs if entry.kind != "event" and not entry.declared]
    numeric += [mapping.age.code] if mapping.age and mapping.age.means == "years_at_row" else []
    return cells.numbers(mapping.value, where=codes.isin(numeric))


def _said(cells: Cells, mapping: LongMapping, seen: pd.DataFrame, entry: LongInput) -> pd.DataFrame:
    """The rows of an input whose values are words: one a row, or one a row and category."""
    rows = seen[seen["code"] == entry.code]
    where = pd.Series(cells.rows.index.isin(rows.index), index=cells.rows.index)
    coded = values_of(cells, mapping.value or "", entry, where=where)
    parts = [rows.assign(code=code, numeric_value=values.reindex(rows.index)) for code, values in coded]
    return pd.concat(parts).dropna(subset=["numeric_value"])


def words_of(mapping: LongMapping) -> dict[str, set[str]]:
    """What cells are compared with, by column."""
    return {mapping.value: {word for entry in mapping.inputs for word in entry.declared}} if mapping.value else {}


def _check_codes(cells: Cells, mapping: LongMapping, codes: "pd.Series[str]") -> None:
    known = set(codes.unique())
    sexes = {mapping.sex.male, mapping.sex.female} if mapping.sex else set()
    unused = set(mapping.input_codes) - known
    absent = sorted(unused if sexes <= unused else unused - sexes)  # a cohort may be of one sex
    said = f"codes of the mapping never occur: {absent}{_but_for_case(known, absent)}"
    cells.count(mapping.code, len(absent), said, "correct or remove them")
    if not any(code.startswith(mapping.outcome.codes) for code in known):
        what = f"outcome never occurs{_but_for_case(known, mapping.outcome.codes)}"
        cells.count(mapping.code, 1, what, "correct the beginnings of codes under `outcome`")
    elif not absent:
        _check_spelling(cells, mapping, known)


def _check_spelling(cells: Cells, mapping: LongMapping, known: Collection[str]) -> None:
    """Codes that are the mapping's but for case or spaces: words are a problem, others may mean something else."""
    excluding = [prefix for exclusion in mapping.exclusions for prefix in exclusion.codes]
    begun = {"outcome": mapping.outcome.codes, "censoring.death": mapping.censoring.death, "exclusions": excluding}
    listed = {*mapping.input_codes}
    others = [code for code in known if code not in listed and not code.startswith((*mapping.never_inputs, *excluding))]
    alike = {field: [code for code in others if _is_begun(code, some)] for field, some in begun.items()}
    alike["inputs"] = [code for code in others if _folded(code) in {_folded(one) for one in listed}]
    for field, codes in alike.items():
        what = f"codes differ from those of `{field}` in case or spaces alone"
        if any(code != code.strip() or _is_word(code) for code in codes):
            cells.count(mapping.code, len(codes), what, "write each in one way in the table, or list them there too")
        elif codes:
            cells.warnings.append(f"{len(codes)} {what}; list them there too where they mean the same")


def _folded(code: str) -> str:
    return code.strip().casefold()


def _is_begun(code: str, beginnings: Iterable[str]) -> bool:
    """Whether it is one of these, or goes on after one with a mark, but for case and spaces around it."""
    rests = (_folded(code).removeprefix(_folded(one)) for one in beginnings if _folded(code).startswith(_folded(one)))
    return any(not rest[:1].isalnum() for rest in rests)


def _is_word(code: str) -> bool:
    """As people write words; in codes such as XaBVj case means something."""
    is_usual = code in (code.upper(), code.lower(), code.title(), code.capitalize())
    return len(code) >= SHORTEST_WORD and is_usual and not any(map(str.isdigit, code))


def _but_for_case(known: Collection[str], beginnings: Collection[str]) -> str:
    """How many codes would be meant if case were none; in some systems of codes it is one."""
    n_alike = sum(_folded(code).startswith(tuple(map(_folded, beginnings))) for code in known)
    return f", but {n_alike} codes begin so in another case or after a space" if n_alike else ""


def _is_input(mapping: LongMapping, codes: "pd.Series[str]") -> "pd.Series[bool]":
    listed = codes.isin([entry.code for entry in mapping.inputs])
    if mapping.unlisted == "ignored":
        return listed
    return listed | ~(_begins(codes, mapping.never_inputs) | codes.isin(mapping.input_codes))


def _begins(codes: "pd.Series[str]", prefixes: Sequence[str]) -> "pd.Series[bool]":
    """Whether each code begins with one of these; judged once a code, for there are few of them."""
    fitting = [code for code in codes.unique() if code.startswith(tuple(prefixes))]
    return codes.isin(fitting)


def _people(cells: Cells, mapping: LongMapping, rows: pd.DataFrame) -> pd.DataFrame:
    """Outcome, death and end of follow-up, once a participant."""
    censoring = mapping.censoring
    people = pd.DataFrame(index=pd.Index(rows["subject_id"].dropna().unique(), name="subject_id"))
    for name, prefixes in (("outcome", mapping.outcome.codes), ("death", censoring.death)):
        found = rows[_begins(rows["code"], prefixes)]
        cells.count(
            mapping.time.column, int(found["time"].isna().sum()), f"rows of {name} have no time", "add the time"
        )
        people[name] = found.groupby("subject_id")["time"].min().reindex(people.index)
    followed = rows if censoring.end is None else rows[rows["code"] == censoring.end]
    people["end"] = followed.groupby("subject_id")["time"].max().reindex(people.index)
    if censoring.end is not None:
        n_open = int(people["end"].isna().sum())
        cells.count(mapping.code, n_open, f"participants have no time of {censoring.end}", "add the row")
    return people


def _ages(cells: Cells, mapping: LongMapping, rows: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """Recorded ages, or births as age 0; and nobody lives before birth."""
    if mapping.age is None:
        return rows[:0].assign(age=0.0)[["subject_id", "time", "age"]]
    found = rows[rows["code"] == mapping.age.code]
    remedy = "mend the times or the births"
    if mapping.age.means == "years_at_row":
        ages = found.assign(age=found["numeric_value"])
        cells.count(mapping.code, int((ages["age"] < 0).sum()), "events lie before birth", remedy)
    else:
        several = int((found.groupby("subject_id")["time"].nunique() > 1).sum())
        cells.count(mapping.code, several, "participants have more than one time of birth", "keep one")
        cells.count(mapping.time.column, int(found["time"].isna().sum()), "births have no time", "add the time")
        births = found.groupby("subject_id")["time"].min()
        early = rows["time"].to_numpy() < births.reindex(rows["subject_id"]).dt.normalize().to_numpy()
        cells.count(mapping.time.column, int(early.sum()), "events lie before birth", remedy)
        ages = found.assign(age=0.0).drop_duplicates("subject_id")
    return ages[["subject_id", "time", "age"]].dropna().sort_values("time")


def _sexes(cells: Cells, mapping: LongMapping, rows: pd.DataFrame) -> pd.DataFrame:
    """Sex as a static flag, 1 for a man, once a participant."""
    if mapping.sex is None:
        return rows[:0]
    found = rows[rows["code"].isin([mapping.sex.male, mapping.sex.female])]
    both = int((found.groupby("subject_id")["code"].nunique() > 1).sum())
    cells.count(mapping.code, both, "participants have both sexes", "keep one")
    is_male = (found["code"] == mapping.sex.male).astype("float64")
    timeless = found["time"].where(found["time"].isna())
    return found.assign(code=SEX, numeric_value=is_male, time=timeless).drop_duplicates("subject_id")


def _bars(mapping: LongMapping, rows: pd.DataFrame) -> pd.DataFrame:
    """From the first such code on; from ever where it is static."""
    bars = [rows[:0].assign(since=EVER, until=NEVER, rank=0, reason="")]
    for rank, exclusion in enumerate(mapping.exclusions):
        met = rows[_begins(rows["code"], exclusion.codes)]
        bars.append(met.assign(since=met["time"].fillna(EVER), until=NEVER, rank=rank, reason=exclusion.reason))
    return pd.concat(bars, ignore_index=True)[["subject_id", "since", "until", "rank", "reason"]].drop_duplicates()
