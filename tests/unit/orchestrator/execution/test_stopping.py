"""How urgently a launch is asked to stop, by a file in its store."""

from pathlib import Path

from rich.console import Console

from orchestrator.execution.events import StopLevel
from orchestrator.execution.stopping import stop_requests
from support.stores.file_systems import out_of_reach
from workers.contract.layout import StoreLayout


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
