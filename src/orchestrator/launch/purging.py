"""A purge from its record to its proof: MLflow's runs, then participant data by a worker, then what was found left."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.asking import ask
from orchestrator.store.holding import hold_lock
from orchestrator.store.machine import now
from orchestrator.store.purging import Purge, begin_purge, write_purge
from orchestrator.study.study import Study
from orchestrator.tracking.purging import purge_runs
from workers.contract.answers.purge import PurgeOrder
from workers.contract.answers.questions import PURGE_DATA
from workers.contract.layout import StoreLayout
from workers.contract.system.participant_data import derived_parts, files_of, telling_parts


@dataclass(frozen=True)
class Forecast:
    """What a purge would remove: how many files and bytes by part of the store, and how many MLflow runs."""

    parts: Mapping[str, tuple[int, int]]
    n_runs: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not self.parts and not self.n_runs


def forecast_purge(study: Study, layout: StoreLayout, *, tracking_uri: str | None) -> Forecast:
    """Count what would go; changes nothing.

    Raises:
        SweepError: MLflow can't be reached.
    """
    runs = purge_runs(study.study, layout, tracking_uri=tracking_uri, is_dry=True)
    every = {**derived_parts(layout), **telling_parts(layout)}
    listed = {name: files for name, paths in every.items() if (files := files_of(paths))}
    parts = {name: (len(files), sum(file.lstat().st_size for file in files)) for name, files in listed.items()}
    return Forecast(parts, runs.n_deleted + runs.n_marked)


def purge_study(
    study: Study, layout: StoreLayout, *, tracking_uri: str | None, reason: str, tell: Callable[[str], object]
) -> tuple[int, Purge]:
    """Remove a study's participant data, trials and runs for good, and search what stays.

    Returns:
        The number of its record, and the record.

    Raises:
        LockedError: A driver works on the store.
        StoreError: Something can't be removed; what went is gone, and the purge can be done again.
        SweepError: MLflow can't be reached; then nothing was removed.
    """
    with hold_lock(layout, tell=tell) as hold:
        runs = purge_runs(study.study, layout, tracking_uri=tracking_uri)
        cohort = study.cohort.recipe
        number, purge = begin_purge(
            layout, study=study.study, cohort=cohort.digest(), source=cohort.source_digest, reason=reason
        )
        hold.check()
        databases = tuple(str(path) for path in runs.databases if path != layout.tracking_database)
        found = ask(PURGE_DATA, PurgeOrder(store=str(layout.root), databases=databases))
        purge = purge.model_copy(
            update={
                "n_runs": runs.n_deleted,
                "n_runs_marked": runs.n_marked,
                "removed": found.removed,
                "proof": found.proof,
                "ended": now(),
            }
        )
        write_purge(layout, number, purge)
        return number, purge
