"""Whole studies whose trials are told, not trained: what is asked of a worker is answered in this process."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from support.launches.command_line import worker_here


@pytest.fixture(scope="session", autouse=True)
def _workers_answer_here() -> Iterator[None]:
    with patch("orchestrator.asking.run_worker", worker_here):
        yield
