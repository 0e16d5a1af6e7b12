"""A study's runs removed from MLflow for good, and the experiment where nobody else's run is left in it.

A database forgets them, and gives its pages back; a server can only mark them deleted, until `mlflow gc` runs there.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.tracking.family import STUDY
from orchestrator.tracking.place import database_uri
from orchestrator.tracking.projection import TRIAL_ID
from orchestrator.tracking.runs import every_run
from orchestrator.tracking.server import ENVIRONMENT
from workers.contract.errors import SweepError
from workers.contract.layout import StoreLayout

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class PurgedRuns:
    """How many runs went, how many a server only marked, and the SQLite files that held them."""

    n_deleted: int = 0
    n_marked: int = 0
    databases: tuple[Path, ...] = ()


def purge_runs(study: str, layout: StoreLayout, *, tracking_uri: str | None, is_dry: bool = False) -> PurgedRuns:
    """Delete every run of a study, those included that were marked deleted before.

    Args:
        tracking_uri: Null is the store's own database.
        is_dry: Only count them.

    Raises:
        SweepError: MLflow can't be reached, or refuses.
    """
    if tracking_uri is None and not layout.tracking_database.is_file():
        return PurgedRuns()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(tracking_uri=tracking_uri or database_uri(layout))
        return _purge(client, study, is_dry=is_dry)
    except (MlflowException, OSError) as error:
        raise SweepError(
            f"tracking: the runs could not be deleted ({type(error).__name__}); is MLflow up? Nothing else was removed"
        ) from None


def _purge(client: "MlflowClient", study: str, *, is_dry: bool) -> PurgedRuns:
    from mlflow.entities import ViewType

    experiment = client.get_experiment_by_name(study)
    # The only way to forget a run, which `mlflow gc` takes too; a server offers none.
    store: Any = client._tracking_client.store
    forgets = hasattr(store, "_hard_delete_run")
    is_file = forgets and store.engine.dialect.name == "sqlite" and store.engine.url.database
    runs = [*every_run(client, experiment.experiment_id, run_view_type=ViewType.ALL)] if experiment else []
    ours = [run for run in runs if TRIAL_ID in run.data.tags or run.data.tags.get(STUDY) == study]
    if not is_dry:
        for run in ours:
            if run.info.lifecycle_stage == "active":
                client.delete_run(run.info.run_id)
            if forgets:
                store._hard_delete_run(run.info.run_id)
        if experiment and len(ours) == len(runs):
            client.delete_experiment(experiment.experiment_id)
            if forgets:
                store._hard_delete_experiment(experiment.experiment_id)
        if is_file:  # else deleted rows stay in its pages
            with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM")
    databases = (Path(store.engine.url.database),) if is_file else ()
    return PurgedRuns(len(ours) if forgets else 0, 0 if forgets else len(ours), databases)
