"""How urgently a launch is asked to stop: by a file in its store, or by a signal."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.execution.events import StopLevel
from orchestrator.execution.stopping import is_by_hand, request_save, request_stop, stop_requests
from support.stores.file_systems import out_of_reach
from workers.contract.layout import StoreLayout
from workers.training.course import SAVE, _is_to_save


def test_a_request_is_heard_and_a_store_out_of_reach_asks_for_nothing(tmp_path: Path) -> None:
    layout = StoreLayout(tmp_path)
    with stop_requests(layout, Console(quiet=True)) as level:
        assert level() is StopLevel.GO_ON
        layout.stop_request.write_text("DRAIN")
        assert level() is StopLevel.DRAIN
        with out_of_reach(layout.stop_request):
            assert level() is StopLevel.GO_ON
        layout.stop_request.write_bytes(b"\xff")
        assert level() is StopLevel.GO_ON


@pytest.mark.parametrize("level", [StopLevel.DRAIN, StopLevel.SAVE, StopLevel.NOW])
def test_a_person_is_told_from_a_scheduler_and_heard_as_it_is(tmp_path: Path, level: StopLevel) -> None:
    layout = StoreLayout(tmp_path)
    assert not is_by_hand(layout)
    with stop_requests(layout, Console(quiet=True)) as asked:
        request_stop(level, layout)
        assert asked() is level and is_by_hand(layout)
        assert _is_to_save(layout) is (level is StopLevel.SAVE)
        request_save(layout)
        assert asked() is StopLevel.SAVE and not is_by_hand(layout)


@pytest.fixture
def hang_up_is_ignored() -> Iterator[None]:
    """As below `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_scheduler_that_takes_its_nodes_back_has_resume_points_written_first(
    tmp_path: Path, number: signal.Signals
) -> None:
    layout = StoreLayout(tmp_path)
    with stop_requests(layout, Console(quiet=True)) as level:
        signal.raise_signal(number)
        assert level() is StopLevel.SAVE
        assert layout.stop_request.read_text() == SAVE  # by which workers know
        signal.raise_signal(number)
        assert level() is StopLevel.NOW


@pytest.mark.parametrize("number", [signal.SIGHUP])
def test_a_signal_abandons_what_runs_and_the_handlers_come_back(tmp_path: Path, number: signal.Signals) -> None:
    inherited = signal.signal(number, before := signal.SIG_DFL)  # the tests themselves may run under nohup
    with stop_requests(StoreLayout(tmp_path), Console(quiet=True)) as level:
        signal.raise_signal(number)
        assert level() is StopLevel.NOW
    assert signal.signal(number, inherited) is before


@pytest.mark.usefixtures("hang_up_is_ignored")
def test_a_terminal_that_closes_below_nohup_is_still_ignored(tmp_path: Path) -> None:
    with stop_requests(StoreLayout(tmp_path), Console(quiet=True)) as level:
        signal.raise_signal(signal.SIGHUP)
        assert level() is StopLevel.GO_ON
