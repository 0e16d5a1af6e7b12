"""Runs of MLflow, read and ended."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.tracking.projection import Facts, KnownRun

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RUNS_PER_PAGE = 1000


def every_run(client: "MlflowClient", experiment_id: str, **how: Any) -> "Iterator[Run]":  # noqa: ANN401
    """The runs of an experiment, page by page.

    Args:
        how: Which of them, and their order, as MLflow's own search takes it.
    """
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=RUNS_PER_PAGE, page_token=token, **how)
        yield from page
        if not (token := page.token):
            return


def known(run: "Run") -> KnownRun:
    """What the server says of it."""
    data = run.data
    tags, metrics, params = dict(data.tags), dict(data.metrics), dict(data.params)
    return KnownRun(run.info.run_id, run.info.start_time or 0, run.info.status, tags, metrics, params)


def move_run(client: "MlflowClient", run: KnownRun, facts: Facts) -> bool:
    """Give a run the status that it should have, and its end; whether it had another."""
    if run.status == facts.status:
        return False
    if facts.status == "RUNNING":
        client.update_run(run.run_id, status=facts.status)
    else:
        client.set_terminated(run.run_id, status=facts.status, end_time=facts.ended_ms)
    run.status = facts.status
    return True
