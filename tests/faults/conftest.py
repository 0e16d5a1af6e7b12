"""One undisturbed study a session, scenes to disturb, and the table of what each fault cost."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.launches.fault_table import FaultTable
from support.launches.scenes import Scene
from support.launches.undisturbed import Baseline, assert_as_undisturbed
from support.studies.micro_study import write_study

# About two seconds a trial on a free core, and a resume point every half second: faults land in the middle.
SEEDS, STEPS = "1, 2, 3", 250
# Two slots, whatever the machine.
RESOURCES = f"cpus_per_trial: {max(1, (os.cpu_count() or 2) // 2)}, gpus_per_trial: 1, checkpoint_every_s: 0.5"
TABLE = pytest.StashKey[FaultTable]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = FaultTable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every fault is slow: minutes in all."""
    for item in items:
        if item.get_closest_marker("faults"):
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[TABLE].rows:
        terminalreporter.section("what the faults cost")
        for line in config.stash[TABLE].lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def fault_table(pytestconfig: pytest.Config) -> FaultTable:
    return pytestconfig.stash[TABLE]


@pytest.fixture(scope="session")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    """The study that nobody disturbed."""
    study = write_study(tmp_path_factory.mktemp("undisturbed"), seeds=SEEDS, steps=STEPS, resources=RESOURCES)
    scene, began = Scene(study), time.monotonic()
    ended = scene.run()
    assert ended.code == 0, ended.output
    found = Baseline(scene, time.monotonic() - began)
    assert_as_undisturbed(found.scene, found)
    return found


@pytest.fixture
def new_scene(tmp_path: Path, baseline: Baseline) -> Iterator[Callable[..., Scene]]:
    """Makes the study once more, with the inputs of the baseline and nothing else; ends what a test leaves running."""
    made: list[Scene] = []

    def make(
        *,
        environment: dict[str, str] | None = None,
        prepared: bool = True,
        resources: str = RESOURCES,
        folder: Path = tmp_path,
    ) -> Scene:
        study = write_study(folder, seeds=SEEDS, steps=STEPS, resources=resources)
        scene = Scene(study, environment or {})
        (baseline.lend_inputs if prepared else baseline.lend_salt)(scene.layout)
        made.append(scene)
        return scene

    yield make
    for scene in made:
        scene.end_all()


@pytest.fixture
def scene(new_scene: Callable[..., Scene]) -> Scene:
    return new_scene()
