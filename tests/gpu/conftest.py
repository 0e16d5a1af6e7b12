"""A store with the inputs of every micro trial, on a machine that may have no more than `make gpu-wheels` gathers."""

import shutil
from pathlib import Path

import pytest
import torch

from support.places import FRAMINGHAM
from support.studies.orders import micro_spec, order_of
from workers.contract.recipes.teaching import Supervision

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this room is for a GPU alone."""
    for item in (item for item in items if item.path.is_relative_to(HERE)):
        item.add_marker(pytest.mark.gpu)
        if not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="there is no GPU here"))


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of which each test takes a copy."""
    from workers.preparing.prepare import prepare

    assert FRAMINGHAM.exists(), "`make data` fetches it; where nothing can be fetched it is to be carried"
    store = tmp_path_factory.mktemp("inputs") / "store"
    prepare(order_of(micro_spec(supervision), store) for supervision in Supervision)
    return store


@pytest.fixture
def store(inputs: Path, tmp_path: Path) -> Path:
    """A store of this test's own."""
    return Path(shutil.copytree(inputs, tmp_path / "store"))
