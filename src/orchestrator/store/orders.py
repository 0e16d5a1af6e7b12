"""The orders in `plans/`: what a worker is given for each trial that may still be run, and no others."""

from pathlib import Path

from orchestrator.study.files import sources_of
from orchestrator.study.study import Study
from workers.contract.layout import StoreLayout
from workers.contract.system.durable import replace_file
from workers.contract.trial import Trial, WorkOrder


def write_order(
    trial: Trial,
    study: Study,
    layout: StoreLayout,
    *,
    n_micro_batches: int = 1,
    profiles: bool = False,
    path: Path | None = None,
) -> Path:
    """Write what a worker is given for a trial, to `plans/` unless a path is given, and return where it lies."""
    order = order_of(trial, study, layout, n_micro_batches=n_micro_batches, profiles=profiles)
    path = path or layout.order(trial.trial_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, order.model_dump_json(indent=1))
    return path


def order_of(
    trial: Trial, study: Study, layout: StoreLayout, *, n_micro_batches: int = 1, profiles: bool = False
) -> WorkOrder:
    """What a worker needs beside the code to run a trial here."""
    return WorkOrder(
        trial=trial,
        store=str(layout.root),
        sources=sources_of(study),
        endpoint=study.endpoint,
        n_micro_batches=n_micro_batches,
        timeout_s=study.resources.timeout_s,
        checkpoint_every_s=study.resources.checkpoint_every_s,
        profiles=profiles,
    )
