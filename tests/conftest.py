"""One prepared store for all tests of workers: the micro base takes seconds to build, so it is built once."""

import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from orders import micro_spec, order_of
from workers.contract.teaching import Supervision

# A busy machine is no failure, and a search that draws anew each time is no regression test.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def prepared_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds the inputs of every micro trial, and nothing else; copy it before writing."""
    from workers.prepare import prepare

    store = tmp_path_factory.mktemp("prepared") / "store"
    prepare(order_of(micro_spec(supervision), store) for supervision in Supervision)
    return store


@pytest.fixture
def store(prepared_store: Path, tmp_path: Path) -> Path:
    """A store of this test's own, with prepared inputs."""
    return Path(shutil.copytree(prepared_store, tmp_path / "store"))
