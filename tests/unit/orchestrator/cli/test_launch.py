"""What a launch says at its end."""

from io import StringIO

import pytest
from rich.console import Console

from orchestrator.cli.views.summary import FollowUp, show_summary
from orchestrator.launch.run import RunSummary
from workers.contract.layout import StoreLayout


@pytest.mark.parametrize("n_done", [0, 1])
def test_what_is_not_there_yet_is_not_pointed_at(layout: StoreLayout, n_done: int) -> None:
    said = StringIO()
    summary = RunSummary("micro", 2, 0, n_done, n_failed=0, n_missing=2 - n_done, tracking_failures=0, report="")
    show_summary(Console(file=said), summary, layout, FollowUp("micro.yaml", None, False), seconds=1.0)
    assert ("sweep query micro.yaml" in said.getvalue()) is bool(n_done)
    assert "report " not in said.getvalue()
