"""Writes OMOP CDM 5.4 folders for tests: invented people, tables as dictionaries of rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workers.contract.recipes.cohorts import OmopCohort
from workers.contract.system.sources import digest_of_place

Tables = Mapping[str, Sequence[Mapping[str, Any]]]
NO_MORE: Tables = {}

GOUT, DIABETES, ALLOPURINOL, URATE, VISIT, MALE, FEMALE, MG, MMOL = (
    440674,
    201826,
    1167322,
    3037556,
    9202,
    8507,
    8532,
    8840,
    8753,
)
COLUMNS = {
    "person": ["person_id", "gender_concept_id", "year_of_birth", "month_of_birth", "day_of_birth"],
    "observation_period": ["person_id", "observation_period_start_date", "observation_period_end_date"],
    "visit_occurrence": ["person_id", "visit_concept_id", "visit_start_date", "visit_start_datetime"],
    "condition_occurrence": ["person_id", "condition_concept_id", "condition_start_date", "condition_start_datetime"],
    "drug_exposure": ["person_id", "drug_concept_id", "drug_exposure_start_date"],
    "measurement": [
        "person_id", "measurement_concept_id", "measurement_date", "measurement_datetime", "value_as_number",
        "unit_concept_id",
    ],
    "death": ["person_id", "death_date"],
    "concept": ["concept_id", "concept_name"],
    "concept_ancestor": ["ancestor_concept_id", "descendant_concept_id"],
}  # fmt: skip
CONCEPTS = {
    GOUT: "Gout", DIABETES: "Type 2 diabetes mellitus", ALLOPURINOL: "allopurinol", URATE: "Urate in serum",
    VISIT: "Outpatient Visit", MALE: "MALE", FEMALE: "FEMALE", MG: "mg/dL", MMOL: "mmol/L",
}  # fmt: skip
# Four people: gout within a year; none, seen for years; none, seen for half a year; gout in another period.
PEOPLE: dict[str, list[dict[str, Any]]] = {
    "person": [
        {"person_id": 1, "gender_concept_id": MALE, "year_of_birth": 1950, "month_of_birth": 6, "day_of_birth": 1},
        *({"person_id": n, "gender_concept_id": FEMALE, "year_of_birth": 1960} for n in (2, 3, 4)),
    ],
    "observation_period": [
        *(
            {"person_id": n, "observation_period_start_date": "2009-01-01", "observation_period_end_date": end}
            for n, end in ((1, "2015-12-31"), (2, "2015-12-31"), (3, "2010-12-01"), (4, "2010-09-30"))
        ),
        {"person_id": 4, "observation_period_start_date": "2011-01-01", "observation_period_end_date": "2015-12-31"},
    ],
    "visit_occurrence": [
        {"person_id": n, "visit_concept_id": VISIT, "visit_start_date": "2010-06-01"} for n in (1, 2, 3, 4)
    ],
    "condition_occurrence": [
        {"person_id": 1, "condition_concept_id": DIABETES, "condition_start_date": "2009-03-01"},
        {"person_id": 1, "condition_concept_id": GOUT, "condition_start_date": "2011-02-01"},
        {"person_id": 4, "condition_concept_id": GOUT, "condition_start_date": "2011-02-01"},
    ],
    "drug_exposure": [{"person_id": 2, "drug_concept_id": 0, "drug_exposure_start_date": "2010-01-01"}],
    "measurement": [
        {"person_id": 1, "measurement_concept_id": URATE, "measurement_date": "2010-05-01", "value_as_number": 7.5,
         "unit_concept_id": MG},
        {"person_id": 2, "measurement_concept_id": URATE, "measurement_date": "2010-06-01",
         "measurement_datetime": "2010-06-01T10:00:00", "value_as_number": 300, "unit_concept_id": MMOL},
    ],
    "death": [],
    "concept_ancestor": [],
    "concept": [{"concept_id": number, "concept_name": name} for number, name in CONCEPTS.items()],
}  # fmt: skip


def write_omop(folder: Path, people: Tables = PEOPLE, *, more: Tables = NO_MORE, suffix: str = ".csv") -> Path:
    """A folder of all tables.

    Args:
        more: Further rows, by table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in COLUMNS.items():
        table = pd.DataFrame([*people[name], *more.get(name, ())], columns=columns).convert_dtypes()
        path = folder / f"{name}{suffix}"
        table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    return folder


def recipe_of(folder: Path, **changes: Any) -> OmopCohort:  # noqa: ANN401  # fields of the recipe
    """Gout within a year of the first visit."""
    content = {
        "source": "omop",
        "sha256": digest_of_place(folder),
        "question": "Gout within a year?",
        "index": {"rule": "first_row"},
        "horizon_days": 365,
        "outcome": {"concepts": [GOUT]},
    }
    return OmopCohort.model_validate(content | changes)


def crowd(n: int) -> dict[str, list[dict[str, Any]]]:
    """Many people, of whom those with a high urate get gout somewhat more often."""
    generator = np.random.default_rng(3)
    urates = generator.normal(6, 1.5, n).round(1)
    gets_it = generator.random(n) < np.where(urates > 7, 0.5, 0.2)
    people: dict[str, list[dict[str, Any]]] = {name: [] for name in COLUMNS}
    for who, (urate, has_event) in enumerate(zip(urates, gets_it, strict=True), start=1):
        sex = (MALE, FEMALE)[who % 2]
        people["person"].append({"person_id": who, "gender_concept_id": sex, "year_of_birth": 1930 + who % 40})
        people["observation_period"].append(PEOPLE["observation_period"][0] | {"person_id": who})
        people["visit_occurrence"].append(PEOPLE["visit_occurrence"][0] | {"person_id": who})
        people["measurement"].append(PEOPLE["measurement"][0] | {"person_id": who, "value_as_number": urate})
        if has_event:
            people["condition_occurrence"].append(PEOPLE["condition_occurrence"][1] | {"person_id": who})
    return people | {"concept": PEOPLE["concept"]}
