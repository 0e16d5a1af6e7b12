"""A study of three trials and a control, a real MLflow of it on SQLite, and what can be read there."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.design.grid import Design, expand
from orchestrator.store.outcomes import read_attempts, read_outcomes
from orchestrator.study.study import load_study
from orchestrator.tracking.place import database_uri
from orchestrator.tracking.tracking import Tracking
from support.places import SWEEPS
from support.stores.builders import commit_trial, invent_people, predict
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.trial import Trial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STUDY = load_study(SWEEPS / "quickstart.yaml")
FULL = expand(STUDY)
DESIGN = Design(trials=FULL.trials[:3], controls=FULL.controls[:1])
FIRST, SECOND, THIRD = DESIGN.trials


def with_database(folder: Path, empty_database: Path) -> StoreLayout:
    """An empty store with a ready database."""
    layout = StoreLayout(folder)
    shutil.copy(empty_database, layout.tracking_database)
    return layout


@contextmanager
def launch(
    layout: StoreLayout,
    *,
    complete: bool = True,
    connect: "Callable[[str], MlflowClient] | None" = None,
    n_failures: int = 0,
) -> Iterator[Tracking]:
    """A tracking that has opened the study, of which that many calls may fail."""
    tracking = Tracking(layout, connect=connect)
    tracking.open_study(STUDY.study, question=STUDY.question, design=FULL)
    yield tracking
    tracking.close(complete=complete)
    assert tracking.failures.count == n_failures, tracking.failures


def reconcile(
    layout: StoreLayout,
    *,
    design: Design = DESIGN,
    connect: "Callable[[str], MlflowClient] | None" = None,
    n_failures: int = 0,
) -> int:
    """How many runs a `sweep sync` writes."""
    with launch(layout, connect=connect, n_failures=n_failures) as tracking:
        return tracking.reconcile(design, read_outcomes(layout), read_attempts(layout))


def commit(layout: StoreLayout, trial: Trial, *, diverged: bool = False) -> Outcome:
    """What a worker leaves in the store."""
    scored = predict(invent_people(60), trial, signal=1.0, invalid_rate=0.1)
    return commit_trial(layout, trial, None if diverged else scored)


def client_of(layout: StoreLayout) -> "MlflowClient":
    """Imported after `Tracking` has turned MLflow's telemetry off."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=database_uri(layout))


def runs(layout: StoreLayout) -> "list[Run]":
    """Every run of the study, the parent too."""
    client = client_of(layout)
    experiment = client.get_experiment_by_name(STUDY.study)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def run_of(layout: StoreLayout, trial: Trial) -> "Run":
    """The only run of a trial."""
    (run,) = [run for run in runs(layout) if run.data.tags.get("sweep.trial_id") == trial.trial_id]
    return run


def curve(layout: StoreLayout, trial: Trial, metric: str) -> list[tuple[int, float]]:
    """Step and value of each point."""
    client = client_of(layout)
    history = client.get_metric_history(run_of(layout, trial).info.run_id, metric)
    return sorted((point.step, point.value) for point in history)
