"""What unit tests do without: waiting for a disk, and pictures that nobody looks at."""

import os
from collections.abc import Iterator
from typing import IO, Any
from unittest.mock import patch

import pytest
from matplotlib.figure import Figure

_draw = Figure.savefig
_is_looked_at = False


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    global _is_looked_at
    _is_looked_at = item.get_closest_marker("drawn") is not None


@pytest.fixture(scope="session", autouse=True)
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """What outlives a power cut is asked of real processes, in `tests/faults`."""
    with patch.object(os, "fsync", lambda _: None):
        yield


@pytest.fixture(scope="session", autouse=True)
def _only_what_is_looked_at_is_drawn() -> Iterator[None]:
    """A page's figures take half a second; their rows and their places are there all the same."""
    with patch.object(Figure, "savefig", _draw_if_looked_at):
        yield


def _draw_if_looked_at(figure: Figure, file: IO[str], **options: Any) -> None:  # noqa: ANN401  # the library's
    if _is_looked_at:
        _draw(figure, file, **options)
    else:
        file.write('<svg xmlns="http://www.w3.org/2000/svg"></svg>')
