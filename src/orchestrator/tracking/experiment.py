"""A study as a whole in MLflow: its experiment with note and saved views, and its parent run."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.tracking.family import STUDY
from orchestrator.tracking.projection import Facts, KnownRun
from orchestrator.tracking.runs import known, move_run
from orchestrator.tracking.study_page import ANSWERED, NOTE, StudyAnswer, StudyPage

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow would otherwise record the account and the command line.
ANONYMOUS = {"mlflow.user": "sweep", "mlflow.source.name": "sweep"}


def open_experiment(client: "MlflowClient", page: StudyPage, *, artifacts: str | None) -> str:
    """Find or create a study's experiment, with its views; its id. A note stays until an answer takes its place.

    Args:
        artifacts: Where it keeps what is uploaded; null leaves it to the server.
    """
    experiment = client.get_experiment_by_name(page.study)
    if experiment is None:
        experiment_id, tags = str(client.create_experiment(page.study, artifact_location=artifacts)), {}
    else:
        experiment_id, tags = str(experiment.experiment_id), experiment.tags
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment_id)
    first_note = {} if NOTE in tags else {NOTE: page.note("", experiment_id=experiment_id)}
    for name, value in (page.views() | first_note).items():
        if tags.get(name) != value:
            client.set_experiment_tag(experiment_id, name, value)
    return experiment_id


def open_parent(client: "MlflowClient", experiment_id: str, page: StudyPage, parent: KnownRun | None) -> KnownRun:
    """Create a study's parent run, or go on with the one that was found."""
    if parent is None:
        tags = {**ANONYMOUS, **page.tags, STUDY: page.study, NOTE: page.note("")}
        return known(client.create_run(experiment_id, tags=tags, run_name=page.study))
    _set_tags(client, parent, page.tags)
    move_run(client, parent, Facts("RUNNING", {}))
    return parent


def tell_numbers(client: "MlflowClient", parent: KnownRun, metrics: Mapping[str, float], *, step: int) -> bool:
    """Write those that the parent run does not hold."""
    from mlflow.entities import Metric

    now_ms = int(time.time() * 1000)
    if news := {name: value for name, value in metrics.items() if parent.metrics.get(name) != value}:
        client.log_batch(parent.run_id, metrics=[Metric(name, value, now_ms, step) for name, value in news.items()])
        parent.metrics |= news
    return bool(news)


def tell_answer(
    client: "MlflowClient", experiment_id: str, page: StudyPage, parent: KnownRun, told: StudyAnswer
) -> None:
    """Write what the analysis found on the parent run, and above the table of all runs."""
    tell_numbers(client, parent, told.metrics, step=0)
    client.set_experiment_tag(experiment_id, NOTE, page.note(told.text, experiment_id=experiment_id))
    _set_tags(client, parent, {NOTE: page.note(told.text), ANSWERED: told.basis})


def _set_tags(client: "MlflowClient", run: KnownRun, tags: Mapping[str, str]) -> None:
    for name, value in tags.items():
        if run.tags.get(name) != value:
            client.set_tag(run.run_id, name, value)
            run.tags[name] = value
