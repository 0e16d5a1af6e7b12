"""A cohort from a MEDS 0.3 or 0.4 folder: its task's labels, and what was recorded up to each prediction time.

`AGE` is worked out from MEDS_BIRTH at every prediction time, `SEX` from codes such as GENDER//M; `text_value` is not
read. Codes are said in the words of metadata/codes.parquet; MEDS knows no units, bands or weights, so neither do we:
the template teacher can name what was recorded, not what it means.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from workers.cohort.cohort import SECONDS_PER_YEAR, Cohort, Flow
from workers.cohort.lexicon import AGE, SEX, Concept, Lexicon
from workers.cohort.meds.folder import MedsTables, read_folder, times_of
from workers.cohort.splits import split_of
from workers.contract.errors import InputError, Problem
from workers.contract.recipes.cohorts import MedsCohort

# As the public MEDS extractions of MIMIC-IV, eICU and OMOP write it; 8507 and 8532 are OMOP's concepts.
SEX_CODE = r"(?i)^(?:gender|sex)/{1,2}(m|male|8507|f|female|8532)$"
MALE = ("m", "male", "8507")
# A shown number keeps about this many steps within its middle half (train split); ours.
STEPS_IN_MIDDLE_HALF = 10


def read_meds(folder: Path, recipe: MedsCohort) -> Cohort:
    """Read, check and label a MEDS folder.

    An index date without a timed event up to it has nothing to predict from, and one at or after a recorded death has
    nobody to predict for: both are excluded and counted.

    Raises:
        InputError: The folder breaks the format or leaves no index date; with all problems, as counts.
    """
    tables = read_folder(folder, labels=recipe.labels)
    reason = _exclusions(tables)
    task = tables.labels[reason == ""].sort_values(["subject_id", "prediction_time"]).reset_index(drop=True)
    if task.empty:
        where = str(folder / recipe.labels)
        remedy = "check that labels and data belong together"
        raise InputError(Problem(where, "no label has a history before it", remedy))
    flow = Flow(
        n_candidates=len(tables.labels),
        excluded={str(name): int(n) for name, n in reason[reason != ""].value_counts().sort_index().items()},
        n_eligible=len(task),
        n_participants=int(task["subject_id"].nunique()),
        n_events=int(task["boolean_value"].sum()),
    )
    return cohort_of(tables, task, flow, question=recipe.question, salt=recipe.split_salt)


def cohort_of(tables: MedsTables, task: pd.DataFrame, flow: Flow, *, question: str, salt: str) -> Cohort:
    """Labels in splits, what was known of each, and its words.

    Args:
        task: The labels that are left, sorted.
    """
    labels = task.assign(subject_id=task["subject_id"].astype(str), split=_splits(task, tables.splits, salt=salt))
    events, warnings = _events(tables, task)
    in_train = events["subject_id"].isin(labels.loc[labels["split"] == "train", "subject_id"])
    return Cohort(
        events=events,
        labels=labels,
        flow=flow,
        lexicon=Lexicon(question=question, concepts=_concepts(events, events[in_train], names=tables.names)),
        warnings=warnings,
    )


def _exclusions(tables: MedsTables) -> "pd.Series[str]":
    """Why each label is left out; empty where it is not."""
    labels = tables.labels
    first = tables.events.dropna(subset=["time"]).groupby("subject_id")["time"].min()
    has_history = times_of(labels["subject_id"], first) <= labels["prediction_time"]
    is_dead = times_of(labels["subject_id"], tables.deaths) <= labels["prediction_time"]
    reasons = np.select(
        [is_dead, ~has_history], ["died before the index", "nothing recorded up to the index"], default=""
    )
    return pd.Series(reasons, index=labels.index, dtype="str")


def _splits(task: pd.DataFrame, given: "pd.Series[str] | None", *, salt: str) -> "pd.Series[str]":
    """The split of each label: the folder's own where it brings one, else by the participant's hash."""
    subjects = task["subject_id"].unique()
    splits = {subject: split_of(str(subject), salt=salt) for subject in subjects} if given is None else given
    return task["subject_id"].map(splits).astype("str")


def _events(tables: MedsTables, task: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Events of the eligible participants with their ages and sexes, and what a reader should know of them."""
    events = tables.events[tables.events["subject_id"].isin(task["subject_id"])]
    warnings = []
    if tables.names is not None:
        unknown = sorted(set(events["code"]) - set(tables.names.index))
        if unknown:
            warnings.append(f"{len(unknown)} codes are missing from metadata/codes.parquet; they are shown as they are")
    if events["code"].isin([AGE, SEX]).any():
        warnings.append(f"codes {AGE} and {SEX} of the data are not read; MEDS_BIRTH and codes like SEX//MALE say both")
        events = events[~events["code"].isin([AGE, SEX])]
    ages = task.assign(years=(task["prediction_time"] - times_of(task["subject_id"], tables.births)).dt.total_seconds())
    ages = ages.dropna(subset=["years"])
    if len(ages) < len(task):
        warnings.append("some participants have no MEDS_BIRTH, and so no age")
    sexes = events["code"].str.extract(SEX_CODE, expand=False).str.lower()
    if not sexes.notna().any():
        warnings.append("no code says a participant's sex in the form SEX//MALE or GENDER//F")
    is_sex = sexes.notna()
    said = events.assign(
        code=events["code"].where(~is_sex, SEX),
        numeric_value=events["numeric_value"].where(~is_sex, sexes.isin(MALE).astype("float64")),
    )
    known = pd.DataFrame(
        {
            "subject_id": ages["subject_id"],
            "time": ages["prediction_time"],
            "code": AGE,
            "numeric_value": ages["years"] / SECONDS_PER_YEAR,
        }
    )
    whole = pd.concat([said, known], ignore_index=True)
    whole = whole.sort_values(["subject_id", "time"], kind="stable", na_position="first", ignore_index=True)
    return whole.assign(subject_id=whole["subject_id"].astype(str)), tuple(warnings)


def _concepts(events: pd.DataFrame, train: pd.DataFrame, *, names: "pd.Series[str] | None") -> tuple[Concept, ...]:
    """The words of every code, age and sex first; rounding is learnt from the train split alone."""
    n_numbers = events.groupby("code", sort=True)["numeric_value"].count()  # of what is not NaN
    numbers = train.groupby("code")["numeric_value"]
    middle_half = (numbers.quantile(0.75) - numbers.quantile(0.25)).to_dict()
    described = {} if names is None else names.dropna().to_dict()
    concepts = {
        str(code): Concept(
            code=str(code),
            name=" ".join(str(described.get(code, code)).split()) or str(code),
            kind="number" if n else "event",
            step=_step(middle_half.get(code, np.nan)),
        )
        for code, n in n_numbers.items()
    }
    own = {
        AGE: Concept(code=AGE, name="age", kind="number", unit="years"),
        SEX: Concept(code=SEX, name="male", kind="flag", absent="female"),
    }
    first = [own[code] for code in (AGE, SEX) if concepts.pop(code, None) is not None]
    return (*first, *concepts.values())


def _step(middle_half: float) -> float:
    """A power of ten that leaves about `STEPS_IN_MIDDLE_HALF` steps between the quartiles; 1 where they are equal."""
    if not middle_half > 0:
        return 1.0
    return float(f"1e{int(np.floor(np.log10(middle_half / STEPS_IN_MIDDLE_HALF) + 0.5))}")
