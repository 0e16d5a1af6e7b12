"""Stores that many tests begin with. A test that needs another has its own `layout`.

One prepared store serves all tests of workers: the micro base takes seconds to build, so it is built once.
"""

import atexit
import gc
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import settings

from orchestrator.design.grid import Design, expand
from orchestrator.study.study import Study, load_study
from support.stores.builders import build_store
from support.studies.micro_study import write_study
from support.studies.orders import micro_spec, order_of
from workers.contract.layout import StoreLayout
from workers.contract.recipes.teaching import Supervision
from workers.contract.system.modes import keep_private

# A busy machine is no failure, and a search that draws anew each time is no regression test.
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("steady")


def pytest_configure() -> None:
    """Our heap is large and most of it stays: Python's 700 new objects are no reason to look through it."""
    gc.set_threshold(20_000, 20, 20)


def pytest_runtest_setup() -> None:
    """Each test begins as each of our processes does, whatever store the one before it opened."""
    keep_private()


def pytest_collection_finish() -> None:
    _keep_what_is_alive()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Of a file's last test: what its tests imported stays too."""
    if nextitem is None or nextitem.path != item.path:
        _keep_what_is_alive()


def _keep_what_is_alive() -> None:
    """What was imported stays: to look through it takes a full collection 0.4 s, through what is new 0.02 s."""
    gc.collect()
    gc.freeze()


# What is frozen still at the end looks leaked to the libraries that count their objects.
atexit.register(gc.unfreeze)


@pytest.fixture(scope="session")
def prepared_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds the inputs of every micro trial, and nothing else; copy it before writing."""
    from workers.preparing.prepare import prepare

    store = tmp_path_factory.mktemp("prepared") / "store"
    prepare(order_of(micro_spec(supervision), store) for supervision in Supervision)
    return store


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """MLflow's tables without a row; making them takes 10 s, to look up their version for each store a quarter.

    From here on no database waits for the disk.
    """
    from mlflow.store.db import utils
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    from orchestrator.tracking.tracking import Tracking

    event.listen(Engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    layout = StoreLayout(tmp_path_factory.mktemp("mlflow"))
    tracking = Tracking(layout)
    tracking.close(complete=True)
    latest = cache(utils._get_latest_schema_revision)
    with patch.object(utils, "_get_latest_schema_revision", latest):
        yield layout.tracking_database


@pytest.fixture
def store(prepared_store: Path, tmp_path: Path) -> Path:
    """A store of this test's own, with prepared inputs."""
    return Path(shutil.copytree(prepared_store, tmp_path / "store"))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """The micro study."""
    return load_study(write_study(tmp_path))


@pytest.fixture
def design(study: Study) -> Design:
    """What the micro study asks for."""
    return expand(study)


@pytest.fixture
def layout(study: Study, design: Design, tmp_path: Path) -> StoreLayout:
    """A store of the micro study in which the second trial was never tried and the third has two failed attempts."""
    _, missing, failed = design.everything[:3]
    stores = tmp_path / "store"
    built = build_store(stores, study, design, missing=[missing.trial_id], failed=[failed.trial_id], n_participants=80)
    built.study.write_text(study.model_dump_json())
    return built
