"""Whatever runs is killed at random, round after round; what comes of it is what an undisturbed launch leaves.

`make test-chaos`: some minutes. The seed is new each time, and printed.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from support.launches.fault_table import FaultTable
from support.launches.mlflow_server import MlflowServer
from support.launches.scenes import Launch, Scene
from support.launches.undisturbed import Baseline, assert_as_undisturbed, checksums

pytestmark = [pytest.mark.faults, pytest.mark.timeout(5400)]
N_ROUNDS = 20
# In which a driver plans, Ray comes up, and a trial or two of two seconds ends.
UP_TO_S = 12.0
VICTIMS = {"driver": "orchestrator.cli", "worker": "ray::", "raylet": "raylet/raylet", "head": "gcs_server"}
# Complete, failed trials, interrupted; and where Ray was killed before a trial could begin. With 1 Ray's own code ends
# the driver, which a process beside it tells of.
MAY_END_WITH = {0, 2, 3, 4}


@pytest.fixture
def serve() -> Iterator[Callable[[Path], MlflowServer]]:
    """Starts an MLflow server in a folder; all end with the test."""
    started: list[MlflowServer] = []

    def start(folder: Path) -> MlflowServer:
        server = MlflowServer(folder)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


class Chaos:
    """One study under fire, until it is complete.

    Args:
        dice: Say who is hit, and when.
    """

    def __init__(self, scene: Scene, server: MlflowServer, dice: random.Random) -> None:
        self.scene, self.server, self._dice = scene, server, dice
        self.options = ("--tracking-uri", server.uri)
        self.hits: Counter[str] = Counter()
        self._kept: dict[str, str] = {}
        self._launch: Launch | None = None

    def strike(self) -> bool:
        """One round; False where the study was complete before."""
        if self.server.process is None:
            self.server.start()
        launch = self._running_launch()
        if launch is None:
            return False
        time.sleep(self._dice.uniform(0, UP_TO_S))
        victim = self._dice.choice([*VICTIMS, "mlflow"])
        if victim == "mlflow":
            self.server.kill()
        self.hits[victim] += victim == "mlflow" or self._kill(victim)
        self._look(launch)
        return True

    def finish(self) -> None:
        """Nobody is hit any more."""
        if self.server.process is None:
            self.server.start()
        while (launch := self._running_launch()) is not None:
            launch.end(seconds=900)
            self._look(launch)
        synced = self.scene.run(*self.options, command="sync")
        assert synced.code == 0, synced.output

    def _running_launch(self) -> Launch | None:
        """What runs, or a new one; null where the last one completed the study."""
        if self._launch is not None and not self._launch.runs and self._launch.process.returncode == 0:
            return None
        if self._launch is None or not self._launch.runs:
            self._launch = self.scene.start(*self.options)
        return self._launch

    def _kill(self, victim: str) -> bool:
        """Whether there was one: it may not have started yet, or have ended."""
        candidates = self.scene.processes(named=VICTIMS[victim])
        with suppress(psutil.NoSuchProcess, IndexError):
            self._dice.choice(candidates).kill()
            return True
        return False

    def _look(self, launch: Launch) -> None:
        """Nothing that was committed is gone or was done once more; whoever ended by himself said why."""
        committed = checksums(self.scene.layout)
        assert self._kept.items() <= committed.items()
        self._kept = committed
        assert "Traceback" not in launch.output, launch.output
        if not launch.runs and launch.process.returncode >= 0:
            is_mute = launch.process.returncode == 1 and "ended while its Ray started" in launch.output
            assert is_mute or launch.process.returncode in MAY_END_WITH, launch.output


def test_whatever_is_killed_the_store_ends_as_an_undisturbed_one(
    new_scene: Callable[..., Scene],
    serve: Callable[[Path], MlflowServer],
    baseline: Baseline,
    fault_table: FaultTable,
    tmp_path: Path,
) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"CHAOS_SEED={seed}")  # noqa: T201  # pytest shows it where the test fails
    dice, hits, n_studies = random.Random(seed), Counter[str](), 0
    began = time.monotonic()
    while hits.total() < N_ROUNDS:
        folder = tmp_path / str(n_studies)
        (folder / "mlflow").mkdir(parents=True)
        chaos = Chaos(new_scene(folder=folder), serve(folder / "mlflow"), dice)
        while hits.total() + chaos.hits.total() < N_ROUNDS and chaos.strike():
            pass
        chaos.finish()
        assert_as_undisturbed(chaos.scene, baseline, database=chaos.server.database, options=chaos.options)
        chaos.server.kill()
        hits += chaos.hits
        n_studies += 1
    told = ", ".join(f"{victim} {n}" for victim, n in sorted(hits.items()))
    happened = f"{n_studies} studies completed, each as the undisturbed one (seed {seed}); seconds of all"
    fault_table.add(f"SIGKILL {N_ROUNDS} times at random: {told}", happened, recovery_s=time.monotonic() - began)
