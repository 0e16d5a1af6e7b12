"""`sweep verify` on a store of real trials: whatever was changed after its commit is found and named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.store.holding import hold_lock
from orchestrator.store.outcomes import read_outcomes
from orchestrator.store.verification import (
    EXIT_DAMAGED,
    EXIT_GOOD,
    Place,
    check_input,
    check_outcome,
    draw,
    verify_store,
)
from orchestrator.study.files import sources_of
from orchestrator.study.study import Study, load_study
from support.launches.command_line import refused, sweep_here
from support.studies.micro_study import write_study
from workers.attempt.runner import Runner
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.system.durable import file_digests
from workers.contract.trial import WorkOrder

pytestmark = pytest.mark.end_to_end
ADAPTER = "adapter/adapter_model.safetensors"
PREDICTIONS = "predictions.parquet"
# Two supervisions, permuted labels, age and sex.
N_TRIALS = 4


@pytest.fixture
def study(finished: Path) -> Study:
    return load_study(finished / "micro.yaml")


@pytest.fixture
def layout(finished: Path, tmp_path: Path) -> StoreLayout:
    """The store, this test's own."""
    return StoreLayout(Path(shutil.copytree(finished / "store" / "micro", tmp_path / "store" / "micro")))


def one_outcome(layout: StoreLayout) -> Outcome:
    """Of a trial that was trained."""
    return next(each for each in read_outcomes(layout).committed.values() if ADAPTER in each.files)


def flip_a_byte(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 0xFF
    path.write_bytes(body)


def reseal(layout: StoreLayout, outcome: Outcome, **changes: object) -> None:
    """Commit a changed outcome under a checksum that holds, as somebody who means to would."""
    layout.outcome(outcome.trial_id).write_text(outcome.model_copy(update=changes).sealed().model_dump_json())


class TestChecksums:
    def test_a_sound_store_is_good_and_everything_in_it_was_read(self, study: Study, layout: StoreLayout) -> None:
        found = verify_store(study, layout)
        committed = read_outcomes(layout).committed
        n_inputs = len(list(layout.inputs.iterdir()))
        assert (found.damages, found.exit_code) == ((), EXIT_GOOD)
        assert (found.n_outcomes, found.n_inputs, found.n_recomputed) == (N_TRIALS, n_inputs, N_TRIALS)
        assert found.n_files > sum(len(outcome.files) for outcome in committed.values())

    @pytest.mark.parametrize("name", [PREDICTIONS, ADAPTER, "history.parquet"])
    def test_a_flipped_byte_is_found_in_every_file_of_a_trial(self, layout: StoreLayout, name: str) -> None:
        outcome = one_outcome(layout)
        flip_a_byte(layout.trial(outcome.trial_id) / outcome.attempt / name)
        (damage,) = check_outcome(layout, outcome).damages
        assert (damage.part, damage.name) == (Place.OUTCOME, outcome.trial_id)
        assert damage.what == f"{name} has another checksum than was committed"

    def test_a_missing_file_is_found(self, layout: StoreLayout) -> None:
        outcome = one_outcome(layout)
        (layout.trial(outcome.trial_id) / outcome.attempt / ADAPTER).unlink()
        (damage,) = check_outcome(layout, outcome).damages
        assert damage.what == f"{ADAPTER} can't be read (No such file or directory)"

    def test_ids_of_another_spec_are_found(self, layout: StoreLayout) -> None:
        outcome = one_outcome(layout).model_copy(update={"cell_id": "0" * 16})
        (damage,) = check_outcome(layout, outcome).damages
        assert damage.what == "its ids are not those of its spec"

    def test_a_flipped_byte_is_found_in_every_file_of_every_input(self, layout: StoreLayout) -> None:
        for path in layout.inputs.glob("*/manifest.json"):
            for file in (path for path in path.parent.glob("*/**/*") if path.is_file()):
                before = file.read_bytes()
                flip_a_byte(file)
                (damage,) = check_input(path).damages
                assert (damage.part, damage.name) == (Place.INPUT, path.parent.name)
                assert file.name in damage.what
                file.write_bytes(before)

    @pytest.mark.parametrize(
        ("spoil", "what"),
        [
            (lambda path: path.write_text("{"), "its manifest can't be read"),
            (lambda path: next(path.parent.glob("*/*")).unlink(), "can't be read"),
            (lambda path: (next(path.parent.glob("*/*")).parent / "more.json").touch(), "more.json is not one of its"),
        ],
    )
    def test_an_input_that_is_not_what_was_published_is_found(
        self, layout: StoreLayout, spoil: Callable[[Path], object], what: str
    ) -> None:
        path = min(layout.inputs.glob("*/manifest.json"))
        spoil(path)
        (damage,) = check_input(path).damages
        assert what in damage.what

    def test_a_manifest_in_the_folder_of_another_recipe_is_found(self, layout: StoreLayout) -> None:
        first, second, *_ = sorted(layout.inputs.iterdir())
        shutil.rmtree(second)
        first.rename(second)
        (damage,) = check_input(second / "manifest.json").damages
        assert damage.what == "its manifest is that of another recipe"

    def test_an_outcome_that_is_torn_or_flipped_is_found_and_is_no_trial_to_score(
        self, study: Study, layout: StoreLayout
    ) -> None:
        path = layout.outcome(one_outcome(layout).trial_id)
        path.write_text(path.read_text().replace('"seed":1', '"seed":2', 1).replace('"seed": 1', '"seed": 2', 1))
        found = verify_store(study, layout)
        assert [damage.name for damage in found.damages] == [path.parent.name]
        assert (found.n_outcomes, found.n_recomputed, found.exit_code) == (N_TRIALS - 1, N_TRIALS - 1, EXIT_DAMAGED)

    def test_what_an_attempt_left_behind_counts_for_nothing(self, study: Study, layout: StoreLayout) -> None:
        before = verify_store(study, layout)
        left = layout.trial(one_outcome(layout).trial_id) / "00000000" / PREDICTIONS
        left.parent.mkdir()
        left.write_bytes(b"half of a file")
        never_ended = layout.trial("f" * 16) / "11111111"
        never_ended.mkdir(parents=True)
        assert verify_store(study, layout) == before


class TestScores:
    def test_scores_that_do_not_follow_from_the_predictions_are_named_whatever_the_checksum(
        self, study: Study, layout: StoreLayout
    ) -> None:
        outcome = one_outcome(layout)
        edited = outcome.model_dump(mode="json")["scores"]
        edited["held_out"]["metrics"]["strict"]["roc_auc"] = 0.99
        reseal(layout, outcome, scores=Outcome.model_validate({**outcome.model_dump(), "scores": edited}).scores)
        (damage,) = verify_store(study, layout).damages
        assert damage.name == outcome.trial_id
        assert damage.what == "1 of its scores don't follow from its predictions: held_out.metrics.strict.roc_auc …"

    @pytest.mark.parametrize(("short_by", "is_named"), [(0.01, False), (30.0, True)])
    def test_a_calibration_line_of_a_solver_that_stopped_short_is_held_to_how_likely_it_is(
        self, study: Study, layout: StoreLayout, short_by: float, is_named: bool
    ) -> None:
        outcome = one_outcome(layout)
        edited = outcome.model_dump(mode="json")["scores"]
        edited["held_out"]["metrics"]["forced"]["calibration_slope"] -= short_by
        reseal(layout, outcome, scores=Outcome.model_validate({**outcome.model_dump(), "scores": edited}).scores)
        named = [damage.what for damage in verify_store(study, layout).damages]
        assert [what.split(": ")[1] for what in named] == ["held_out.metrics.forced.calibration_slope …"] * is_named

    def test_predictions_that_are_no_table_are_named_without_what_is_in_them(
        self, study: Study, layout: StoreLayout
    ) -> None:
        outcome = one_outcome(layout)
        folder = layout.trial(outcome.trial_id) / outcome.attempt
        (folder / PREDICTIONS).write_text("participant 4711")
        reseal(layout, outcome, files=file_digests(folder))
        (damage,) = verify_store(study, layout).damages
        assert f"{PREDICTIONS}: ArrowInvalid" in damage.what
        assert "4711" not in damage.what


class TestRetraining:
    def test_a_trial_trained_again_on_the_same_threads_is_identical(self, study: Study, layout: StoreLayout) -> None:
        found = verify_store(study, layout, n_retrain=N_TRIALS)
        assert (found.exit_code, len(found.retrained)) == (EXIT_GOOD, N_TRIALS)
        for again in found.retrained:
            assert again.is_identical and set(again.largest_difference.values()) == {0.0}
        assert not list(layout.root.glob(".tmp-*"))

    @pytest.mark.slow
    def test_predictions_that_no_training_gives_are_found_though_all_checksums_and_scores_hold(
        self, study: Study, layout: StoreLayout
    ) -> None:
        from workers.work.predictions import Prevalence, score_predictions

        outcome = one_outcome(layout)
        folder = layout.trial(outcome.trial_id) / outcome.attempt
        rows = pd.read_parquet(folder / PREDICTIONS)
        rows["p_forced"] = 0.5 * rows["p_forced"] + 0.5 * rows["label"]
        rows.to_parquet(folder / PREDICTIONS, index=False)
        prevalence = Prevalence(train=outcome.train_prevalence, natural=outcome.natural_prevalence)
        reseal(layout, outcome, files=file_digests(folder), scores=score_predictions(rows, prevalence))
        assert verify_store(study, layout).damages == ()
        (damage,) = verify_store(study, layout, n_retrain=N_TRIALS).damages
        assert (damage.part, damage.name) == (Place.RETRAINED, outcome.trial_id)
        assert "examples beyond the tolerance" in damage.what

    @pytest.mark.slow
    def test_a_trial_that_was_split_to_fit_its_memory_is_split_again(self, study: Study, layout: StoreLayout) -> None:
        outcome = one_outcome(layout)
        shutil.rmtree(layout.trial(outcome.trial_id))
        order = WorkOrder(trial=outcome.trial, store=str(layout.root), sources=sources_of(study), n_micro_batches=4)
        assert [*Runner(n_threads=1).run(order)]
        assert Outcome.load(layout.outcome(outcome.trial_id)).cost.n_micro_batches == 4
        found = verify_store(study, layout, n_retrain=N_TRIALS)
        assert [again.is_identical for again in found.retrained] == [True] * N_TRIALS

    def test_the_same_trials_are_drawn_every_time_and_no_more_than_there_are(self, study: Study) -> None:
        names = [f"{number:016x}" for number in range(50)]
        assert draw(names, 5, study=study) == draw(names[::-1], 5, study=study)
        assert sorted(draw(names, 80, study=study)) == names


class TestCommand:
    def test_damage_is_shown_moved_away_and_run_again(self, finished: Path, layout: StoreLayout) -> None:
        outcome = one_outcome(layout)
        flip_a_byte(layout.trial(outcome.trial_id) / outcome.attempt / ADAPTER)
        where = layout.root.parents[1]
        seen = sweep_here("verify", finished / "micro.yaml", cwd=where)
        assert seen.returncode == EXIT_DAMAGED, seen.stderr
        assert outcome.trial_id in seen.stdout and "--quarantine" in seen.stdout
        moved = sweep_here("verify", layout.root, "--quarantine", "--json", cwd=where)
        facts = json.loads(moved.stdout)
        assert (moved.returncode, facts["n_quarantined"], facts["exit_code"]) == (EXIT_DAMAGED, 1, EXIT_DAMAGED)
        assert layout.quarantined(outcome.trial_id, 1).is_file()
        counts = json.loads(sweep_here("status", layout.root, "--json", cwd=where).stdout)["counts"]
        assert (counts["keep"], counts["retry"]) == (N_TRIALS - 1, 1)
        again = sweep_here("verify", layout.root, cwd=where)
        assert again.returncode == EXIT_GOOD
        assert "all good" in again.stdout

    def test_nothing_is_moved_away_from_under_a_driver(self, layout: StoreLayout) -> None:
        with hold_lock(layout):
            refused(sweep_here("verify", layout.root, "--quarantine", cwd=layout.root), code=75)

    def test_a_store_without_trials_says_so(self, tmp_path: Path) -> None:
        assert "holds no trial yet" in refused(sweep_here("verify", write_study(tmp_path), cwd=tmp_path))
