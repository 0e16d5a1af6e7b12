"""Heads of Ray on this machine: bare ones, and some whose autoscaler is Ray's own and whose nodes are local raylets."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FAKE_HEAD_NODE_TYPE,
    FakeMultiNodeProvider,
)

RAY = str(Path(sys.executable).with_name("ray"))
# Its nodes have no machine of a cloud; the rest is the autoscaler that a cloud has.
SCALED = {
    "RAY_FAKE_CLUSTER": "1",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
}
IDLE_MINUTES = 0.1
# What a cloud's defaults would hold: nothing is copied to, or begun on, a node.
NO_COMMANDS = (
    "cluster_synced_files",
    "initialization_commands",
    *("setup_commands", "head_setup_commands", "worker_setup_commands"),
    *("head_start_ray_commands", "worker_start_ray_commands"),
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(address: str, *, seconds: float = 90) -> None:
    """Until something listens at the address."""
    host, port = address.split(":")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError):
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        time.sleep(0.5)
    raise TimeoutError(f"no Ray head answers at {address}")


@contextmanager
def running_head(
    paths: pytest.TempPathFactory, *options: str, node_types: Mapping[str, object] | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """A head on this machine: its address, and the environment of those who know its token.

    Args:
        node_types: What its autoscaler brings and takes away, as raylets of this machine; none without any.
    """
    token = paths.mktemp("token") / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    here = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": here, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    address = f"127.0.0.1:{free_port()}"
    usual = ["--num-cpus=2", "--disable-usage-stats", "--node-ip-address=127.0.0.1", f"--port={address.split(':')[1]}"]
    if node_types is not None:
        usual.append(f"--autoscaling-config={_scaling(paths.mktemp('scaling') / 'cluster.yaml', address, node_types)}")
        environment |= SCALED
    command = [RAY, "start", "--head", "--block", *usual, *options]
    # `ray stop` would end every Ray on this machine; a process group of its own ends alone.
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True, umask=0)
    try:
        wait_for(address)
        yield address, environment
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def _scaling(path: Path, address: str, node_types: Mapping[str, object]) -> Path:
    """The file that says what the autoscaler may bring; JSON is YAML."""
    head = {"resources": {}, "node_config": {}, "max_workers": 0}
    # By its name, `fake_multinode`, it would want a file that Ray's wheel lacks.
    module = f"{FakeMultiNodeProvider.__module__}.{FakeMultiNodeProvider.__name__}"
    provider = {"type": "external", "module": module, "gcs_address": address, "head_node_id": FAKE_HEAD_NODE_ID}
    content = {
        "cluster_name": "scaled",
        "max_workers": 8,
        "idle_timeout_minutes": IDLE_MINUTES,
        "provider": {**provider, "launch_multiple": True},
        "available_node_types": {**node_types, FAKE_HEAD_NODE_TYPE: head},
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        **dict.fromkeys(NO_COMMANDS, ()),
        **{name: {} for name in ("auth", "docker", "file_mounts")},
    }
    path.write_text(json.dumps(content))
    return path
