"""A cohort looked at before any store: an invented record in words, and whether its prompts fit a study's bases."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from support.studies.orders import micro_spec
from workers.contract.answers.findings import CheckRequest
from workers.contract.recipes.cohorts import TableCohort
from workers.contract.recipes.teaching import PromptRecipe
from workers.contract.system.sources import digest_of_place
from workers.contract.trial import Trial, WorkOrder
from workers.requests.cohorts import examine

N = 200
WORDS = PromptRecipe(template="history")


def cohort_of(folder: Path, *, n_measures: int) -> tuple[TableCohort, Path]:
    """One row a participant, whose outcome says little of the measures."""
    generator = np.random.default_rng(1)
    table: dict[str, Any] = {f"measure{n}": generator.integers(10, 99, N) for n in range(n_measures)}
    table |= {"age": np.arange(N) % 40 + 30, "stage": np.resize(["II", "III", "II", "I"], N)}
    table |= {"rare": np.where(np.arange(N) < 9, 1.0, np.nan)}
    path = folder / "table.csv"
    pd.DataFrame(table).assign(dead=generator.integers(0, 2, N)).to_csv(path, index=False)
    inputs = [{"column": f"measure{n}", "name": "a long name of a measure", "step": 10} for n in range(n_measures)]
    mapping = {
        "shape": "wide", "question": "Dead within a year?", "id": "row", "clock": "none", "horizon_days": 365,
        "outcome": {"flag": "dead"}, "age": {"column": "age", "step": 5},
        "inputs": [*inputs, {"column": "stage", "categories": {"I": "", "II": "two", "III": ""}}, {"column": "rare"}],
    }  # fmt: skip
    recipe = {"source": "table", "sha256": digest_of_place(path), "mapping": mapping}
    return TableCohort.model_validate(recipe), path


def request(folder: Path, *, n_measures: int) -> CheckRequest:
    cohort, place = cohort_of(folder, n_measures=n_measures)
    trial = Trial(spec=micro_spec(cohort=cohort, prompt=WORDS), coordinates={"base": "micro"})
    order = WorkOrder(trial=trial, store="", sources={cohort.sha256: str(place)})
    return CheckRequest(cohort=cohort, place=place, prompt=WORDS, orders=(order,))


def test_an_invented_record_has_the_middle_of_what_many_have(tmp_path: Path) -> None:
    found = examine(request(tmp_path, n_measures=1).model_copy(update={"orders": ()}))
    assert found.rooms == {}
    middle = round(pd.read_csv(tmp_path / "table.csv")["measure0"].quantile(interpolation="nearest") / 10) * 10
    assert found.invented == f"Person, age 50. A long name of a measure {middle}. Stage: two. Dead within a year?"


def test_a_prompt_that_a_base_has_no_room_for_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    found = examine(request(tmp_path, n_measures=80))
    (problem,) = found.problems
    assert problem.where == "bases.micro"
    assert problem.what.startswith(f"the longest prompt takes {found.rooms['micro'].prompt} tokens")
    assert "prompt.max_words" in problem.remedy
    room = found.rooms["micro"]
    assert len(found.invented.split()) < room.prompt
    assert room.answer < room.context < room.prompt
    assert found.counts["n_examples"] == N
    assert not any(tmp_path.glob("*/"))


def test_what_the_checks_find_is_told_before_lengths(tmp_path: Path) -> None:
    asked = request(tmp_path, n_measures=1)
    table = pd.read_csv(asked.place or "")
    table.loc[0, "age"] = 999
    table.to_csv(asked.place, index=False)
    found = examine(asked)
    assert [problem.where for problem in found.problems] == ["cohort: ages at the index"]
    assert not found.rooms
