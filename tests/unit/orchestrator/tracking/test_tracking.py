"""MLflow as a projection of the store, on a real SQLite database."""

import shutil
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.design.grid import Design, expand
from orchestrator.design.naming import name_of
from orchestrator.disclosure import EXAMPLES_A_STEP, coarse
from orchestrator.store.outcomes import Outcomes, read_attempts, read_outcomes
from orchestrator.study.study import load_study
from orchestrator.tracking.metrics import metrics_of, steps_of
from orchestrator.tracking.place import serve_command
from orchestrator.tracking.projection import Facts, KnownRun, news, params_of
from orchestrator.tracking.tracking import Tracking
from support.places import SWEEPS
from support.stores.builders import STARTED, build_store, commit_trial, invent_people, predict, write_attempt
from support.stores.tracked import (
    DESIGN,
    FIRST,
    FULL,
    SECOND,
    STUDY,
    THIRD,
    client_of,
    commit,
    curve,
    launch,
    reconcile,
    run_of,
    runs,
    with_database,
)
from workers.contract.errors import InputError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import FailureKind
from workers.contract.recipes.scorings import Scoring


@pytest.fixture
def layout(tmp_path: Path, empty_database: Path) -> StoreLayout:
    return with_database(tmp_path, empty_database)


def test_a_committed_trial_is_a_finished_run_with_its_scores_and_curve(layout: StoreLayout) -> None:
    with launch(layout) as tracking:
        tracking.start(FIRST.trial_id, STARTED)
        outcome = commit(layout, FIRST)
        tracking.commit(outcome)
    run = run_of(layout, FIRST)
    assert run.info.status == "FINISHED"
    assert name_of(FIRST) == "label_only · tiny-llama · n=128 · lr=0.003 · seed 11"
    assert run.info.run_name == "label_only · n=128 · seed 11 · tiny-llama · lr=0.003"  # what differs comes first
    assert run.data.metrics["held_out/strict_auc"] == outcome.scores["held_out"].metrics[Scoring.STRICT].roc_auc
    assert run.data.params["lora.rank"] == "8" and run.data.params["precision"] == "float32"
    assert run.data.tags["axis.supervision"] == "label_only" and run.data.tags["sweep.state"] == "scored"
    assert curve(layout, FIRST, "train/loss") == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]


def test_axes_scorings_and_label_shares_are_told_in_numbers_and_names(tmp_path: Path) -> None:
    design = expand(load_study(SWEEPS / "mechanism.yaml"))
    trial = next(trial for trial in design.trials if trial.coordinates.get("objective") == "span_balanced@0.9")
    further = {Scoring.DIRECT: 1.0}
    outcome = commit_trial(
        StoreLayout(tmp_path), trial, predict(invent_people(60), trial, signal=1.0, invalid_rate=0.1, further=further)
    )
    params, metrics = params_of(trial), metrics_of(outcome)
    assert (params["objective.kind"], params["objective.weight"]) == ("span_balanced", "0.9")
    assert (params["target.ordering"], params["teacher.kind"]) == ("rationale_first", "template")
    assert (params["budget.match"], params["direct"]) == ("steps", str(trial.spec.evaluation.direct))
    assert not {"objective", "budget"} & {name for name, value in params.items() if "{" in value}
    assert {"held_out/strict_auc", "held_out/direct_auc", "tuning/strict_auc", "cost/wall_s"} <= set(metrics)
    assert len(metrics) <= 15
    history = (StoreLayout(tmp_path).trial(trial.trial_id) / outcome.attempt / "history.parquet").read_bytes()
    points = [(name, step) for name, _, _, step in steps_of(history, started_ms=0)]
    assert {name for name, _ in points} == {"train/loss", "train/grad_norm", "train/label_loss_share"}
    assert ("train/label_loss_share", 3) in points


def test_demonstrations_are_named_and_told() -> None:
    design = expand(load_study(SWEEPS / "fewshot.yaml"))
    trial = next(trial for trial in design.trials if trial.coordinates.get("shows") == "rationale")
    assert name_of(trial) == "shows rationale · qwen-s · direct · 2 shots · fixed · order 1"
    params = params_of(trial)
    assert (params["shows"], params["shots"], params["inference"]) == ("rationale", "2", "direct")


def test_only_who_learns_has_a_train_size_and_the_whole_split_is_one() -> None:
    controls = expand(load_study(SWEEPS / "quickstart.yaml")).controls
    told = {(str(trial.coordinates["control"]), params_of(trial).get("train_size")) for trial in controls}
    assert {("zero_shot", None), ("permuted_labels", "640"), ("age_sex", "640"), ("age_sex", "whole")} <= told


def test_steps_from_before_there_were_label_shares_are_still_told() -> None:
    old = pa.table({"step": [1], "loss": [0.5], "grad_norm": [1.0], "wall_s": [0.1]})
    sink = pa.BufferOutputStream()
    pq.write_table(old, sink)
    points = steps_of(sink.getvalue().to_pybytes(), started_ms=0)
    assert [name for name, *_ in points] == ["train/loss", "train/grad_norm"]


def test_a_running_trial_is_seen_as_such_and_what_waits_has_no_run(layout: StoreLayout) -> None:
    with launch(layout, complete=False) as tracking:
        tracking.start(SECOND.trial_id, STARTED)
    assert run_of(layout, SECOND).info.status == "RUNNING"
    assert len(runs(layout)) == 2


def test_there_is_one_run_a_trial_and_one_parent_after_two_launches(layout: StoreLayout) -> None:
    for _ in range(2):
        with launch(layout) as tracking:
            for trial in DESIGN.everything:
                tracking.start(trial.trial_id, STARTED)
    by_trial = [run.data.tags.get("sweep.trial_id") for run in runs(layout)]
    assert sorted(by_trial, key=str) == sorted([*DESIGN.by_id, None], key=str)
    (parent,) = [run for run in runs(layout) if "sweep.study" in run.data.tags]
    assert STUDY.question in parent.data.tags["mlflow.note.content"]
    assert parent.info.status == "FINISHED"
    children = {run.data.tags.get("mlflow.parentRunId") for run in runs(layout)} - {None}
    assert children == {parent.info.run_id}


def test_replayed_steps_add_nothing(layout: StoreLayout) -> None:
    outcome = commit(layout, FIRST)
    with launch(layout) as tracking:
        tracking.commit(outcome)
    client = client_of(layout)
    # As after a driver that died between the steps and the facts.
    client.delete_tag(run_of(layout, FIRST).info.run_id, "sweep.history")
    assert reconcile(layout) == 1
    assert [step for step, _ in curve(layout, FIRST, "train/loss")] == [1, 2, 3]


def test_an_outcome_that_replaced_another_has_a_run_of_its_own_numbers(layout: StoreLayout) -> None:
    first = commit(layout, FIRST)
    reconcile(layout)
    before = run_of(layout, FIRST)
    shutil.rmtree(layout.trial(FIRST.trial_id))
    again = commit_trial(layout, FIRST, predict(invent_people(60), FIRST, signal=2.0, invalid_rate=0.1))
    assert again.checksum != first.checksum
    assert reconcile(layout) == 1
    after = run_of(layout, FIRST)
    assert after.info.run_id != before.info.run_id
    assert after.data.metrics["held_out/strict_auc"] == again.scores["held_out"].metrics[Scoring.STRICT].roc_auc
    assert [step for step, _ in curve(layout, FIRST, "train/loss")] == [1, 2, 3]
    assert reconcile(layout) == 0


def test_a_failed_trial_finishes_in_the_same_run(layout: StoreLayout) -> None:
    with launch(layout) as tracking:
        tracking.start(FIRST.trial_id, STARTED)
        tracking.fail([write_attempt(layout, FIRST, number=1, kind=FailureKind.LOST_WORKER)])
    failed = run_of(layout, FIRST)
    assert (failed.info.status, failed.data.tags["sweep.failure"]) == ("FAILED", "lost_worker")
    with launch(layout) as tracking:
        tracking.start(FIRST.trial_id, STARTED)
        tracking.commit(commit(layout, FIRST))
    finished = run_of(layout, FIRST)
    assert finished.info.run_id == failed.info.run_id
    assert (finished.info.status, finished.data.tags["sweep.state"]) == ("FINISHED", "scored")


def test_a_diverged_trial_is_a_result(layout: StoreLayout) -> None:
    commit(layout, FIRST, diverged=True)
    reconcile(layout)
    run = run_of(layout, FIRST)
    assert (run.info.status, run.data.tags["sweep.state"]) == ("FINISHED", "diverged")


def test_a_second_reconcile_writes_nothing(layout: StoreLayout) -> None:
    for trial in (FIRST, *DESIGN.controls):
        commit(layout, trial)
    commit(layout, SECOND, diverged=True)
    write_attempt(layout, THIRD, number=1)
    assert reconcile(layout) == len(DESIGN.everything)
    assert reconcile(layout) == 0


def test_what_the_live_projection_wrote_is_what_the_store_says(layout: StoreLayout) -> None:
    with launch(layout) as tracking:
        for trial in (FIRST, SECOND):
            tracking.start(trial.trial_id, STARTED)
        tracking.commit(commit(layout, FIRST))
        tracking.fail([write_attempt(layout, SECOND, number=1)])
    assert reconcile(layout) == 0


def test_finished_runs_of_trials_that_the_store_lost_are_counted_and_left(layout: StoreLayout) -> None:
    for trial in (FIRST, SECOND):
        commit(layout, trial)
    reconcile(layout)
    shutil.rmtree(layout.trial(SECOND.trial_id))
    with launch(layout) as tracking:
        assert tracking.reconcile(DESIGN, read_outcomes(layout), read_attempts(layout)) == 0
        assert tracking.n_unheld == 1
    assert run_of(layout, SECOND).info.status == "FINISHED"


def test_runs_without_an_owner_are_closed(layout: StoreLayout) -> None:
    with launch(layout, complete=False) as tracking:
        for trial in (FIRST, SECOND, FULL.trials[5]):
            tracking.start(trial.trial_id, STARTED)
    assert reconcile(layout) == 3
    assert {run_of(layout, trial).info.status for trial in (FIRST, SECOND, FULL.trials[5])} == {"KILLED"}
    assert reconcile(layout) == 0


def test_a_lost_database_is_rebuilt_from_the_store(layout: StoreLayout, tmp_path: Path, empty_database: Path) -> None:
    commit(layout, FIRST)
    write_attempt(layout, SECOND, number=1)
    reconcile(layout)
    # MLflow keeps a deleted file open, so the store moves instead.
    moved = StoreLayout(tmp_path / "moved")
    shutil.copytree(layout.trials, moved.trials)
    shutil.copytree(layout.attempts("any").parent, moved.attempts("any").parent)
    shutil.copy(empty_database, moved.tracking_database)
    assert reconcile(moved) == 2
    before, after = run_of(layout, FIRST), run_of(moved, FIRST)
    assert after.data.metrics == before.data.metrics
    assert after.info.start_time == before.info.start_time and after.info.end_time == before.info.end_time
    assert curve(moved, FIRST, "train/grad_norm") == curve(layout, FIRST, "train/grad_norm")


def test_a_trial_with_a_damaged_history_is_counted_and_holds_up_no_other(layout: StoreLayout) -> None:
    for trial in DESIGN.trials:
        commit(layout, trial)
    (layout.trial(FIRST.trial_id) / "attempt-1" / "history.parquet").write_bytes(b"torn")
    tracking = Tracking(layout)
    tracking.open_study(STUDY.study)
    assert tracking.reconcile(DESIGN, read_outcomes(layout), {}) == 2
    tracking.close(complete=False)
    assert tracking.failures.by_class == {"StoreError": 1}


def test_a_renamed_base_keeps_its_run(layout: StoreLayout) -> None:
    commit(layout, FIRST)
    reconcile(layout)
    renamed = FIRST.model_copy(update={"coordinates": FIRST.coordinates | {"base": "small"}})
    assert reconcile(layout, design=Design(trials=(renamed,), controls=())) == 1
    assert run_of(layout, FIRST).data.tags["axis.base"] == "small"


def test_an_unreachable_server_never_raises_and_holds_nothing_up(tmp_path: Path) -> None:
    layout = StoreLayout(tmp_path)
    outcome = commit(layout, FIRST)
    tracking = Tracking(layout, tracking_uri="http://127.0.0.1:9")
    tracking.open_study(STUDY.study)
    for trial in FULL.everything:
        tracking.start(trial.trial_id, STARTED)
    tracking.commit(outcome)
    assert tracking.reconcile(DESIGN, Outcomes({FIRST.trial_id: outcome}), {}) == 0
    tracking.close(complete=True)
    assert tracking.failures.count == len(("refresh", "outcome", "abandoned", "study"))  # since reconciling began
    assert set(tracking.failures.by_class) == {"MlflowException"}


def test_no_identifier_host_or_error_text_reaches_the_database(tmp_path: Path, empty_database: Path) -> None:
    layout = build_store(tmp_path, STUDY, DESIGN, failed=[SECOND.trial_id], n_participants=60)
    shutil.copy(empty_database, layout.tracking_database)
    attempts = read_attempts(layout)
    canary = attempts[SECOND.trial_id][0].model_copy(update={"detail": "Jane Canary", "error": "Jane Canary"})
    outcomes = read_outcomes(layout)
    detailed = {
        key: outcome.model_copy(update={"detail": "Jane Canary"}) for key, outcome in outcomes.committed.items()
    }
    with launch(layout) as tracking:
        tracking.fail([canary])
        tracking.reconcile(DESIGN, Outcomes(detailed), {SECOND.trial_id: [canary]})
    with sqlite3.connect(layout.tracking_database) as database:
        text = "\n".join(database.iterdump())
    assert FIRST.trial_id in text
    for secret in ("Jane Canary", "participant-0", "example-0", "node-1", "framingham.csv", str(Path.home())):
        assert secret not in text


def test_no_count_of_people_and_no_rate_by_class_is_projected(layout: StoreLayout) -> None:
    commit(layout, FIRST)
    reconcile(layout)
    names = {name for name in run_of(layout, FIRST).data.metrics if name.startswith(("tuning/", "held_out/"))}
    assert {name.partition("/")[2] for name in names} == {
        *("strict_auc", "forced_auc", "invalid_rate"),
        *("strict_pr_auc", "strict_brier", "strict_ece", "strict_calibration_slope"),
    }


@pytest.mark.parametrize("n_examples", [1, 7, 60, 133, 999, 1031, 2000, 2131, 5000])
def test_no_small_count_follows_from_a_projected_share(n_examples: int) -> None:
    counts: dict[float, list[int]] = {}
    for n in range(n_examples + 1):
        counts.setdefault(coarse(n / n_examples, n_examples=n_examples), []).append(n)
    assert all(0 <= share <= 1 for share in counts)
    for members in counts.values():
        for small in (members, [n_examples - n for n in members]):
            assert 0 in small or max(small) >= EXAMPLES_A_STEP


def test_a_projected_share_of_many_examples_has_two_decimals() -> None:
    assert [coarse(share, n_examples=2131) for share in (0.0, 0.0049, 0.0638, 0.994, 1.0)] == [0, 0, 0.06, 0.99, 1]


def test_no_experiment_keeps_its_artifacts_outside_the_store(empty_database: Path) -> None:
    layout = StoreLayout(empty_database.parent)
    with sqlite3.connect(empty_database) as database:
        places = dict(database.execute("SELECT name, artifact_location FROM experiments"))
    assert "Default" in places
    assert all(place.startswith(layout.tracking_artifacts.as_uri()) for place in places.values()), places


def test_the_web_page_keeps_what_is_uploaded_to_it_in_the_store(tmp_path: Path) -> None:
    layout = StoreLayout(tmp_path)
    command = serve_command(layout)
    for option in ("--default-artifact-root", "--artifacts-destination"):
        assert command[command.index(option) + 1] == layout.tracking_artifacts.as_uri()


def test_the_web_page_stays_on_this_machine(tmp_path: Path) -> None:
    command = serve_command(StoreLayout(tmp_path), port=5050)
    assert command[1:5] == ["-P", "-m", "mlflow", "server"]
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5050"


@pytest.mark.parametrize(
    "uri",
    [
        "http://mlflow.example:5000",
        "postgresql+psycopg2://me:secret@db/mlflow",
        "mysql+pymysql://db/mlflow?user=me&password=secret",
    ],
)
def test_no_second_server_and_no_password_on_a_command_line(tmp_path: Path, uri: str) -> None:
    with pytest.raises(InputError) as refused:
        serve_command(StoreLayout(tmp_path), tracking_uri=uri)
    assert "secret" not in str(refused.value)


def set_latest(layout: StoreLayout, metric: str, value: float) -> None:
    """As somebody's hand in the database does it."""
    with sqlite3.connect(layout.tracking_database) as database:
        changed = database.execute("UPDATE latest_metrics SET value = ? WHERE key = ?", (value, metric)).rowcount
    database.close()
    assert changed == 1


class TestWrongNumbers:
    AUC = "held_out/strict_auc"

    @pytest.fixture
    def right(self, layout: StoreLayout) -> dict[str, float]:
        commit(layout, FIRST)
        reconcile(layout)
        assert reconcile(layout) == 0
        return dict(run_of(layout, FIRST).data.metrics)

    @pytest.mark.parametrize("number", [-1.0, 999.0])
    def test_one_in_the_database_gets_a_newer_right_one(
        self, layout: StoreLayout, right: dict[str, float], number: float
    ) -> None:
        """MLflow itself would keep the larger of two at one moment."""
        for metric in (self.AUC, "cost/wall_s", "train/loss", "train/grad_norm"):
            set_latest(layout, metric, number)
        with launch(layout) as tracking:
            assert tracking.reconcile(DESIGN, read_outcomes(layout), {}) == 1
            assert tracking.n_mended == 1
        assert run_of(layout, FIRST).data.metrics == right
        assert reconcile(layout) == 0

    def test_one_that_was_lost_comes_back(self, layout: StoreLayout, right: dict[str, float]) -> None:
        with sqlite3.connect(layout.tracking_database) as database:
            database.execute("DELETE FROM latest_metrics WHERE key IN (?, 'train/loss')", (self.AUC,))
        database.close()
        assert reconcile(layout) == 1
        assert run_of(layout, FIRST).data.metrics == right
        assert reconcile(layout) == 0

    def test_one_that_somebody_logged_later_gets_a_newer_right_one(
        self, layout: StoreLayout, right: dict[str, float]
    ) -> None:
        client, run = client_of(layout), run_of(layout, FIRST)
        client.log_metric(run.info.run_id, self.AUC, 0.999, step=7, timestamp=4_000_000_000_000)
        assert run_of(layout, FIRST).data.metrics[self.AUC] == 0.999
        assert reconcile(layout) == 1
        assert run_of(layout, FIRST).data.metrics == right
        assert reconcile(layout) == 0

    def test_a_metric_of_somebody_else_is_left_alone(self, layout: StoreLayout, right: dict[str, float]) -> None:
        client_of(layout).log_metric(run_of(layout, FIRST).info.run_id, "mine", 1.0)
        assert reconcile(layout) == 0
        assert run_of(layout, FIRST).data.metrics == {**right, "mine": 1.0}

    def test_what_does_not_stay_as_it_was_written_is_a_failure(self, layout: StoreLayout) -> None:
        """Somebody else writes at the same moment, after each of our batches."""
        commit(layout, FIRST)

        class Meddled:
            def __init__(self) -> None:
                self._client = client_of(layout)

            def __getattr__(self, name: str) -> object:
                return getattr(self._client, name)

            def log_batch(self, run_id: str, **batch: object) -> None:
                self._client.log_batch(run_id, **batch)
                self._client.log_metric(run_id, TestWrongNumbers.AUC, 0.999, timestamp=4_000_000_000_000)

        assert reconcile(layout, connect=lambda _: Meddled(), n_failures=1) == 1

    def test_a_loss_that_is_no_number_is_the_same_each_time(self, layout: StoreLayout) -> None:
        held = KnownRun(
            "run", 0, "FINISHED", {}, {"train/loss": float("nan"), "train/grad_norm": sys.float_info.max}, {}
        )
        facts = Facts("FINISHED", {}, curve={"train/loss": float("nan"), "train/grad_norm": float("inf")})
        assert news(held, facts, None).wrong == {}
        assert news(held, replace(facts, curve={"train/loss": 1.0}), None).wrong == {"train/loss": 1.0}


def test_a_page_is_not_opened_on_what_is_no_database(tmp_path: Path) -> None:
    StoreLayout(tmp_path).tracking_database.write_text("junk")
    with pytest.raises(InputError, match=r"is no SQLite database that can be read.*`sweep sync` makes it again"):
        serve_command(StoreLayout(tmp_path))
