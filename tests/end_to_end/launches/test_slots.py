"""Every slot of a launch does its share: no worker is started and thrown away while another takes all trials.

And a node imports torch once, in a process that starts no thread, whatever the number of its workers.
"""

import os
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from support.launches.scenes import Launch, Scene
from support.studies.micro_study import write_study
from workers.contract.outcome import Outcome

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(420)]

# A trial of these takes less than a second, a worker's imports ten.
N_SEEDS = 20
TWO_SLOTS = f"cpus_per_trial: {max(1, (os.cpu_count() or 2) // 2)}, gpus_per_trial: 1"
# A process's own thread, and that of pyarrow's memory pool, which is made for forks.
MAIN, THREAD_OF_PYARROW = "main", "jemalloc_bg_thd"
# Of a tenth of a second and more.
FEW_LOOKS = 3

# The first worker ends so many of the trials alone.
N_ALONE = 6

# The second worker to import what trials need is late, as on a busy machine; who imports torch is noted.
LATE = """
import glob, os, sys, time

class Late:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "torch.nn":
            with open({imported!r}, "a") as file:
                print(os.getpid(), file=file)
        if name == "workers.attempt.runner":
            try:
                os.close(os.open({mark!r}, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                until = time.monotonic() + 60
                while len(glob.glob({ended!r})) < {n_alone} and time.monotonic() < until:
                    time.sleep(0.05)

sys.meta_path.insert(0, Late)
"""


def threads_of_nursery(launch: Launch) -> dict[int, str]:
    """Names by thread; what it forked is also called as it is, for a moment, but is no child of the launch."""
    with suppress(psutil.Error, OSError):
        for child in psutil.Process(launch.process.pid).children():
            if "workers.attempt.nursery" in child.cmdline():
                tasks = {int(task.name): task / "comm" for task in Path(f"/proc/{child.pid}/task").iterdir()}
                return {of: MAIN if of == child.pid else comm.read_text().strip() for of, comm in tasks.items()}
    return {}


def test_a_slot_whose_worker_is_late_keeps_it_and_does_its_share(tmp_path: Path) -> None:
    study = write_study(tmp_path, seeds=", ".join(map(str, range(N_SEEDS))), steps=1, resources=TWO_SLOTS)
    (tmp_path / "late").mkdir()
    scene = Scene(study, {"PYTHONPATH": os.pathsep.join([str(tmp_path / "late"), *sys.path])})
    (tmp_path / "late" / "sitecustomize.py").write_text(
        LATE.format(
            mark=str(tmp_path / "first"),
            imported=str(tmp_path / "imported"),
            ended=str(scene.layout.trials / "*" / "outcome.json"),
            n_alone=N_ALONE,
        )
    )
    launch, looks, threads = scene.start(), Counter[int](), dict[int, str]()
    while launch.runs:
        looks.update(worker.pid for worker in scene.workers())
        threads |= threads_of_nursery(launch)  # the last name counts: a thread is called as its process at first
        time.sleep(0.1)
    assert launch.end().code == 0, launch.output
    outcomes = [Outcome.load(path) for path in scene.layout.trials.glob("*/outcome.json")]
    shares = Counter(outcome.provenance.pid for outcome in outcomes)
    # What a worker starts is called as it is until it is a program of its own; a worker in vain imports for seconds.
    workers = [pid for pid, n_looks in looks.items() if n_looks > FEW_LOOKS]
    assert len(workers) == len(shares) == 2
    assert min(shares.values()) >= len(outcomes) / 4, shares
    assert len((tmp_path / "imported").read_text().split()) == 1
    assert {MAIN} <= set(threads.values()) <= {MAIN, THREAD_OF_PYARROW}
