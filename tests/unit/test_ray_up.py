"""The files for `ray up`: valid by Ray's own validator, and locked as all that we launch."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from support.places import REPOSITORY

FILES = sorted((REPOSITORY / "cluster/ray_up").glob("*.yaml"))
EVERY = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


@EVERY
def test_ray_takes_the_file(path: Path) -> None:
    prepared = prepare_config(read(path))
    validate_config(prepared)
    assert prepared["cluster_name"] == "sweep"
    assert any(each["max_workers"] for each in prepared["available_node_types"].values())


@EVERY
def test_what_ray_does_not_know_it_refuses(path: Path) -> None:
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config(read(path) | {"max_worker": 1}))


@EVERY
def test_every_node_starts_under_the_token_and_shows_its_dashboard_to_itself_alone(path: Path) -> None:
    said = read(path)
    (head,), (worker,) = said["head_start_ray_commands"], said["worker_start_ray_commands"]
    for command in (head, worker):
        assert "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.sweep-token && " in command
        assert "--disable-usage-stats" in command
    assert "--dashboard-host=127.0.0.1" in head


def test_no_trial_is_placed_where_the_driver_runs() -> None:
    for path in FILES:
        types = read(path).get("available_node_types")
        assert types["head"]["resources"] == {"CPU": 0} if types else "--num-cpus=0" in path.read_text()
