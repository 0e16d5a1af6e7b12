"""A study's runs leave MLflow for good, and nobody else's with them."""

from pathlib import Path

import pytest

from orchestrator.tracking.place import database_uri
from orchestrator.tracking.purging import PurgedRuns, purge_runs
from support.stores.tracked import FIRST, SECOND, STUDY, client_of, commit, launch, reconcile, runs, with_database
from workers.contract.errors import SweepError
from workers.contract.layout import StoreLayout
from workers.requests.searching import Needles, search

TRIAL_IDS = Needles(anywhere=frozenset({FIRST.trial_id, SECOND.trial_id}))


@pytest.fixture
def layout(tmp_path: Path, empty_database: Path) -> StoreLayout:
    """Two committed trials, tracked."""
    layout = with_database(tmp_path, empty_database)
    with launch(layout) as tracking:
        for trial in (FIRST, SECOND):
            tracking.commit(commit(layout, trial))
    return layout


def purged(layout: StoreLayout, *, is_dry: bool = False) -> PurgedRuns:
    return purge_runs(STUDY.study, layout, tracking_uri=None, is_dry=is_dry)


def test_nothing_of_a_run_stays_in_the_file(layout: StoreLayout) -> None:
    assert search([layout.tracking_database], TRIAL_IDS).hits
    assert purged(layout, is_dry=True).n_deleted == 3
    assert len(runs(layout)) == 3
    found = purged(layout)
    assert (found.n_deleted, found.n_marked, found.databases) == (3, 0, (layout.tracking_database,))
    assert search([layout.tracking_database], TRIAL_IDS).hits == {}
    assert purged(layout).n_deleted == 0


def test_runs_that_were_only_marked_deleted_go_too(layout: StoreLayout) -> None:
    client = client_of(layout)
    client.delete_run(runs(layout)[0].info.run_id)
    assert purged(layout).n_deleted == 3
    assert search([layout.tracking_database], TRIAL_IDS).hits == {}


def test_the_run_of_somebody_else_and_its_experiment_stay(layout: StoreLayout) -> None:
    client = client_of(layout)
    experiment = client.get_experiment_by_name(STUDY.study)
    theirs = client.create_run(experiment.experiment_id, run_name="theirs").info.run_id
    assert purged(layout).n_deleted == 3
    assert [run.info.run_id for run in client.search_runs([experiment.experiment_id])] == [theirs]


def test_a_purged_study_can_be_tracked_again(layout: StoreLayout) -> None:
    purged(layout)
    assert reconcile(layout) > 0
    assert len(runs(layout)) == 3


def test_a_database_elsewhere_is_purged_and_named(layout: StoreLayout, tmp_path: Path) -> None:
    other = StoreLayout(tmp_path / "other")
    found = purge_runs(STUDY.study, other, tracking_uri=database_uri(layout))
    assert (found.n_deleted, found.databases) == (3, (layout.tracking_database.resolve(),))
    assert purge_runs(STUDY.study, other, tracking_uri=None) == PurgedRuns()


def test_a_server_that_is_down_is_one_sentence(layout: StoreLayout) -> None:
    with pytest.raises(SweepError, match="is MLflow up\\? Nothing else was removed"):
        purge_runs(STUDY.study, layout, tracking_uri="http://127.0.0.1:9")
