"""What Tune is given, what it may hand on, and when it is told to end."""

from functools import partial
from typing import cast

import pytest
from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE, _ActorClassCache

from orchestrator.execution.events import StopLevel
from orchestrator.execution.executor import Overseer
from orchestrator.execution.on_ray.actor import TrialActor
from orchestrator.execution.on_ray.connection.cluster import Lifeline
from orchestrator.execution.on_ray.connection.watching import LOOK_EVERY_S
from orchestrator.execution.on_ray.nodes.roster import Roster
from orchestrator.execution.on_ray.tuning import _Stopper


def test_no_key_that_the_driver_has_goes_to_an_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENV_VARS_TO_PROPAGATE:
        monkeypatch.setenv(name, "a secret")
    assert "AWS_SECRET_ACCESS_KEY" in ENV_VARS_TO_PROPAGATE
    options = _ActorClassCache().get(TrialActor)._default_options
    assert not options.get("runtime_env")


class Asked:
    """A launch that was asked to stop, on a cluster of which nothing new is heard."""

    def __init__(self, level: StopLevel) -> None:
        self.stop_level = lambda: level
        self.news = self.ask = lambda: None


@pytest.mark.parametrize(
    ("level", "while_waiting", "while_running"),
    [(StopLevel.GO_ON, False, False), (StopLevel.DRAIN, True, False), (StopLevel.NOW, True, True)],
)
def test_a_launch_that_waits_for_a_node_ends_at_once_when_it_is_asked_to_stop(
    level: StopLevel, *, while_waiting: bool, while_running: bool
) -> None:
    asked = Asked(level)
    for has_room, ends in ((False, while_waiting), (True, while_running)):
        times = iter((0.0, 2 * LOOK_EVERY_S))
        line = Lifeline(partial(bool, has_room), waits_s=60, clock=times.__next__)
        assert _Stopper(cast("Overseer", asked), line, cast("Roster", asked)).stop_all() is ends
