"""The record of a purge stands before anything goes, keeps the scores beside it, and says so in the plan."""

from pathlib import Path

from orchestrator.launch.run import plan_study
from orchestrator.launch.screen.console import plan_counts
from orchestrator.store.machine import now
from orchestrator.store.outcomes import read_outcomes
from orchestrator.store.purging import begin_purge, last_purge, write_purge
from orchestrator.study.study import Study
from workers.contract.answers.purge import Proof
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome


def begun(layout: StoreLayout) -> int:
    return begin_purge(layout, study="micro", cohort="c" * 16, source=None, reason="the agreement ended")[0]


def test_outcomes_are_kept_beside_the_record_and_count_as_trials_no_more(layout: StoreLayout) -> None:
    before = read_outcomes(layout).committed
    number = begun(layout)
    assert read_outcomes(layout).committed == {}
    kept = {trial_id: Outcome.load(layout.purged_outcome(number, trial_id)) for trial_id in before}
    assert kept == before
    record = last_purge(layout)
    assert record is not None
    assert (record.n_trials, record.reason, record.ended) == (len(before), "the agreement ended", None)


def test_records_are_numbered_and_never_overwritten(layout: StoreLayout) -> None:
    assert [begun(layout) for _ in range(3)] == [1, 2, 3]
    assert sorted(path.name for path in layout.purges.glob("*.json")) == ["1.json", "2.json", "3.json"]


def test_the_plan_says_what_was_purged_until_there_are_inputs_again(
    study: Study, layout: StoreLayout, prepared_store: Path
) -> None:
    number = begun(layout)
    _, plan = plan_study(study, layout)
    assert "which was cut off: purge again" in plan_counts(plan, layout)
    record = last_purge(layout)
    assert record is not None
    write_purge(layout, number, record.model_copy(update={"ended": now(), "proof": Proof()}))
    _, sentence = plan_counts(plan, layout).splitlines()
    assert sentence.endswith("2 trials were removed; `sweep run` would need the data again")
    layout.inputs.symlink_to(prepared_store / "inputs")
    assert "purged" not in plan_counts(plan, layout)


def test_only_a_search_that_left_nothing_out_and_found_nothing_proves_a_purge(layout: StoreLayout) -> None:
    begun(layout)
    record = last_purge(layout)
    assert record is not None and not record.is_proven
    for proof, n_marked, is_proven in (
        (Proof(), 0, True),
        (Proof(hits={"logs/a": 1}), 0, False),
        (Proof(unread=("logs/a",)), 0, False),
        (Proof(), 1, False),
    ):
        assert record.model_copy(update={"proof": proof, "n_runs_marked": n_marked}).is_proven == is_proven
