"""The hash of a plan: the same while nothing changed, and a refusal that says what did."""

import shutil
from pathlib import Path

import pytest

from orchestrator.design.grid import Design, expand
from orchestrator.design.plan import make_plan
from orchestrator.design.reviewed import PlanHash
from orchestrator.store.holding import hold_lock
from orchestrator.store.outcomes import read_attempts, read_outcomes
from orchestrator.study.study import Study, load_study
from support.launches.command_line import sweep_here as sweep
from support.places import SWEEPS
from support.stores.builders import commit_trial, invent_people, predict, write_attempt
from support.studies.micro_study import write_study
from workers.contract.errors import InputError
from workers.contract.layout import StoreLayout

QUICKSTART = SWEEPS / "quickstart.yaml"
STUDY = load_study(QUICKSTART)
DESIGN = expand(STUDY)
FIRST, SECOND = DESIGN.trials[:2]


@pytest.fixture
def layout(tmp_path: Path) -> StoreLayout:
    """A store in which one trial is done."""
    layout = StoreLayout(tmp_path)
    commit_trial(layout, FIRST, None)
    return layout


def hash_of(layout: StoreLayout, study: Study = STUDY, design: Design = DESIGN) -> PlanHash:
    return PlanHash.of(study, make_plan(design, read_outcomes(layout), read_attempts(layout), study=study.study))


def refusal(reviewed: PlanHash, now: PlanHash) -> str:
    with pytest.raises(InputError) as error:
        reviewed.refuse_another(now)
    return str(error.value)


def test_nothing_changed_means_the_same_hash_and_no_refusal(layout: StoreLayout) -> None:
    reviewed = PlanHash.parse(str(hash_of(layout)))
    reviewed.refuse_another(hash_of(layout))
    assert len(str(reviewed)) < 40


def test_a_study_file_that_moved_has_the_same_hash(layout: StoreLayout) -> None:
    moved = STUDY.model_copy(update={"path": Path("elsewhere.yaml")})
    assert hash_of(layout, moved) == hash_of(layout)


def test_a_commit_since_the_review_is_told_in_counts(layout: StoreLayout) -> None:
    reviewed = hash_of(layout)
    commit_trial(layout, SECOND, None)
    n = len(DESIGN.everything)
    assert f"reviewed were 1 keep · {n - 1} add, now there are 2 keep · {n - 2} add" in refusal(
        reviewed, hash_of(layout)
    )


def test_a_failed_attempt_since_the_review_is_told(layout: StoreLayout) -> None:
    reviewed = hash_of(layout)
    write_attempt(layout, SECOND, number=1)
    assert "1 retry" in refusal(reviewed, hash_of(layout))


def test_an_outcome_that_was_replaced_by_another_is_noticed(layout: StoreLayout) -> None:
    reviewed = hash_of(layout)
    shutil.rmtree(layout.trial(FIRST.trial_id))
    commit_trial(layout, FIRST, predict(invent_people(20), FIRST, signal=1, invalid_rate=0))
    assert "the counts are the same" in refusal(reviewed, hash_of(layout))


def test_an_edited_study_is_noticed_though_no_trial_changed(layout: StoreLayout) -> None:
    edited = STUDY.model_copy(update={"question": "Another one?"})
    assert "the study says something else" in refusal(hash_of(layout), hash_of(layout, edited))


@pytest.mark.parametrize("text", ["", "HASH", "3f9ac01b", "3f9ac01b-77de20aa-1.2", "3f9ac01b-77de20aa-1.2.3.4.x"])
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no plan hash"):
        PlanHash.parse(text)


def test_a_launch_with_another_hash_ends_with_2_and_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    design = expand(load_study(study))
    layout = StoreLayout(tmp_path / "store" / "micro")
    printed = sweep("plan", study, cwd=tmp_path).stdout.splitlines()
    reviewed = next(line.split()[1] for line in printed if line.startswith("plan "))
    outcome = commit_trial(layout, design.trials[0], None)
    done = sweep("run", study, "--plan", reviewed, cwd=tmp_path)
    assert done.returncode == 2
    assert "reviewed were 4 add, now there are 1 keep · 3 add" in done.stderr
    assert sorted(path.name for path in layout.root.iterdir()) == ["driver.lock", "leases", "trials"]
    assert read_outcomes(layout).committed[outcome.trial_id] == outcome
    with hold_lock(layout):
        pass


def test_a_bad_narrowing_ends_with_2_before_a_store_is_made(tmp_path: Path) -> None:
    done = sweep("run", write_study(tmp_path), "--only", "seed=2", "--limit", "1", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --only: seed has no value `2`; take one of 1")
    assert not (tmp_path / "store").exists()
