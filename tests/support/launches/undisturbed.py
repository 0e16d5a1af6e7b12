"""What a store must look like after any fault: as if nothing had happened, and with nothing left over."""

import json
import shutil
import sqlite3
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from orchestrator.store.dataset.columns import TABLES
from orchestrator.store.outcomes import read_outcomes
from orchestrator.tracking.metrics import CURVES
from orchestrator.tracking.projection import TRIAL_ID
from support.launches.scenes import Scene
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Cost, Outcome

# A process that lost its driver notices within seconds.
ORPHANS_END_WITHIN_S = 10
TEMPORARIES = (".tmp-", ".dataset-", ".report", ".write-test-", ".skipped-")
# Smaller batches add in another order.
ROUNDING = 1e-4
KEYS = ("trial_id", "split", "example_id", "fraction", "step")
# What differs between two runs of the same trial.
ITS_OWN = {*Cost.model_fields, "commit", "device", "started_at", "ended_at", "wall_s"}

Curves = dict[tuple[str, str], list[tuple[int, float]]]


@dataclass(frozen=True)
class Baseline:
    """A study that ran undisturbed for so many seconds; others are compared with it, or begin as copies of it."""

    scene: Scene
    seconds: float = 0.0

    @property
    def outcomes(self) -> dict[str, Outcome]:
        return dict(read_outcomes(self.scene.layout).committed)

    def lend_inputs(self, layout: StoreLayout) -> None:
        """Give a store the prepared inputs, and the salt, so that the ids of its examples are the same."""
        layout.root.mkdir(parents=True, mode=0o700)
        shutil.copytree(self.scene.layout.inputs, layout.inputs)
        self.lend_salt(layout)

    def lend_salt(self, layout: StoreLayout) -> None:
        layout.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copy2(self.scene.layout.salt, layout.salt)


def checksums(layout: StoreLayout) -> dict[str, str]:
    """Of every outcome: the same one is the same execution."""
    return {name: outcome.checksum for name, outcome in read_outcomes(layout).committed.items()}


def table(layout: StoreLayout, name: str) -> pd.DataFrame:
    """A table of the dataset by DuckDB, in one order, without what is each execution's own."""
    pattern = layout.dataset / name / "*" / "*.parquet"
    sql = f"select * from read_parquet('{pattern}', hive_partitioning = true)"
    with duckdb.connect() as connection:
        rows: pd.DataFrame = connection.sql(sql).to_arrow_table().to_pandas()
    rows = rows[[column for column in sorted(rows.columns) if column not in ITS_OWN]]
    return rows.sort_values(by=[key for key in KEYS if key in rows.columns]).reset_index(drop=True)


def curves(database: Path) -> Curves:
    """Steps of every step metric in MLflow, (trial id, metric) to (step, value) in order."""
    sql = (
        "select tags.value, metrics.key, metrics.step, metrics.value from metrics join tags using (run_uuid) "
        "join runs using (run_uuid) where runs.lifecycle_stage = 'active' and tags.key = ? "
        "order by tags.value, metrics.key, metrics.step"
    )
    found: Curves = {}
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        for trial_id, key, step, value in connection.execute(sql, [TRIAL_ID]):
            found.setdefault((trial_id, key), []).append((step, value))
    return found


def runs(database: Path) -> list[tuple[str, str]]:
    """(trial id, status) of every child run."""
    sql = (
        "select tags.value, runs.status from runs join tags using (run_uuid) "
        "where runs.lifecycle_stage = 'active' and tags.key = ? order by tags.value"
    )
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        return connection.execute(sql, [TRIAL_ID]).fetchall()


def assert_as_undisturbed(
    scene: Scene,
    baseline: Baseline,
    *,
    rounded: Collection[str] = (),
    database: Path | None = None,
    options: tuple[object, ...] = (),
) -> None:
    """The whole list: results, one outcome a trial, tracking, processes, left-overs, plan, and nothing to run again.

    Args:
        rounded: Trials that ran in smaller batches: equal within rounding.
        database: MLflow's, where it is not the store's own.
        options: Of `sweep run`, where the launches had some.
    """
    _assert_no_orphan(scene)
    _assert_same_results(scene.layout, baseline.scene.layout, rounded)
    _assert_one_attempt_counts(scene.layout)
    _assert_tracked(database or scene.layout.tracking_database, baseline, rounded)
    assert left_over(scene.layout) == []
    _assert_nothing_runs_again(scene, options)


def _assert_same_results(layout: StoreLayout, expected: StoreLayout, rounded: Collection[str]) -> None:
    for name in TABLES:
        got, wanted = table(layout, name), table(expected, name)
        assert set(got["trial_id"]) == set(wanted["trial_id"])
        pd.testing.assert_frame_equal(_of(got, but=rounded), _of(wanted, but=rounded), check_exact=True)
        pd.testing.assert_frame_equal(_of(got, rounded), _of(wanted, rounded), rtol=0, atol=ROUNDING)


def _of(rows: pd.DataFrame, among: Collection[str] = (), *, but: Collection[str] | None = None) -> pd.DataFrame:
    """Rows of these trials, or of all others."""
    is_kept = rows["trial_id"].isin(among) if but is None else ~rows["trial_id"].isin(but)
    return rows[is_kept].reset_index(drop=True)


def _assert_one_attempt_counts(layout: StoreLayout) -> None:
    for folder in layout.trials.iterdir():
        attempt = Outcome.load(folder / "outcome.json").attempt
        is_evidence = any(layout.quarantine.glob(f"{folder.name}-*"))
        found = {path.name for path in folder.iterdir()}
        assert found == {attempt, "outcome.json"} or (is_evidence and len(found) == 3), folder.name


def _assert_tracked(database: Path, baseline: Baseline, rounded: Collection[str]) -> None:
    found, expected = runs(database), [(name, "FINISHED") for name in sorted(baseline.outcomes)]
    assert found == expected, set(found) ^ set(expected) or f"{len(found)} runs of {len(expected)} trials"
    got, wanted = curves(database), curves(baseline.scene.layout.tracking_database)
    assert got.keys() == wanted.keys()
    for (trial_id, key), points in got.items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), f"{trial_id}: {key} has a step twice"
        if key in CURVES.values():
            tolerance = 1e-3 if trial_id in rounded else 0
            assert dict(points) == pytest.approx(dict(wanted[trial_id, key]), abs=tolerance, rel=0)


def _assert_no_orphan(scene: Scene) -> None:
    deadline = time.monotonic() + ORPHANS_END_WITHIN_S
    while (alive := scene.processes()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not alive, [process.name() for process in alive]


def left_over(layout: StoreLayout) -> list[str]:
    """Everything in a store that belongs to no finished launch."""
    paths = [path for path in layout.root.rglob("*") if path.name.startswith(TEMPORARIES)]
    paths += [path for path in layout.leases.glob("*") if not path.name.startswith("driver-")]
    paths += layout.root.glob("checkpoints/*")
    paths += layout.orders.glob("*")
    paths += [path for path in (layout.scratch, layout.stop_request) if path.exists()]
    return sorted(str(path.relative_to(layout.root)) for path in paths)


def _assert_nothing_runs_again(scene: Scene, options: tuple[object, ...]) -> None:
    plan = planned(scene)
    assert {trial["state"] for trial in plan["trials"] + plan["controls"]} == {"keep"}
    before = checksums(scene.layout)
    again = scene.run(*options)
    assert again.code == 0, again.output
    assert "running" not in again.output
    assert checksums(scene.layout) == before


def planned(scene: Scene) -> dict[str, Any]:
    """What `sweep plan --json` says."""
    ended = scene.run("--json", command="plan")
    assert ended.code == 0, ended.output
    plan: dict[str, Any] = json.loads(ended.output)
    return plan
