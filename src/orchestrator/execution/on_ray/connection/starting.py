"""How Ray starts a node of our own: heard on this machine alone, workers by forks, and nothing else than trials need.

Ray has no switch for any of it, so that names of its own modules are ours while it starts.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import ray
from ray._private.node import Node

from orchestrator.execution import newborn, stand_in
from orchestrator.execution.newborn import NURSERY

LOOPBACK = "127.0.0.1"
# What an autoscaler, a dashboard or a terminal would read; 4 CPU-s and five seconds of a start on two cores.
UNUSED = ("start_monitor", "start_api_server", "start_log_monitor")
CONFIG = {
    "prestart_worker_first_driver": False,  # the driver would wait for workers, and they for the nursery's imports
    "num_workers_soft_limit": 0,  # a worker that waits idle would give its slot a lead that short trials never lose
}


@contextmanager
def bare_node(nursery: Path) -> Iterator[None]:
    """Have Ray start a node so while the block runs."""
    services, constants = ray._private.services, ray._private.ray_constants
    rays_own = services._build_python_executable_command_memory_profileable
    agents = {constants.PROCESS_TYPE_DASHBOARD_AGENT, constants.PROCESS_TYPE_RUNTIME_ENV_AGENT}
    names = (
        ray._raylet.METRICS_AGENT_PORT_NAME,
        ray._raylet.METRICS_EXPORT_PORT_NAME,
        ray._raylet.DASHBOARD_AGENT_LISTEN_PORT_NAME,
        ray._raylet.RUNTIME_ENV_AGENT_PORT_NAME,
    )

    def command(component: str, *args: object, **options: object) -> list[str]:
        ours = ["-P", stand_in.__file__, *names] if component in agents else []
        return [*rays_own(component, *args, **options), *ours]

    with ExitStack() as replaced:
        for owner, ours in (
            # Given a loopback address, it would look for another one.
            (services, {"get_node_ip_address": lambda *_, **__: LOOPBACK}),
            (services, {"_build_python_executable_command_memory_profileable": command}),
            # Joined to a folder, a whole path takes its place.
            (constants, {"SETUP_WORKER_FILENAME": newborn.__file__}),
            (Node, dict.fromkeys(UNUSED, lambda *_, **__: None)),
        ):
            replaced.enter_context(mock.patch.multiple(owner, **ours))
        replaced.enter_context(mock.patch.dict(os.environ, {NURSERY: str(nursery)}))
        yield
