"""What a launch costs beside its trials, and whether that grows: the driver's CPU and memory, and both slots' work.

A study of many micro trials, prepared; `sweep run`, looked at twice a second. By hand: `make bench BENCH=micro1000`, or
`python tests/benchmarks/driver_cost.py [micro1000]`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.against_peer import STUDIES, SWEEP, Contest, environment, say
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome

LOOK_EVERY_S = 0.5
WORKER = "ResourceTrainable"
MIB = 2**20


@dataclass(frozen=True)
class Look:
    """The driver once so many trials had ended."""

    n_done: int
    cpu_s: float
    rss_mib: float
    at_s: float


def followed(study: Path, stores: Path) -> tuple[list[Look], Counter[int], float]:
    """A launch from begin to end: looks at its driver, how often each worker was seen, and seconds to the first trial.

    Raises:
        SystemExit: It failed.
    """
    layout, looks, workers = StoreLayout(stores / "bench"), list[Look](), Counter[int]()
    began, first_s = time.perf_counter(), 0.0
    with (stores.parent / "run.log").open("wb") as log:
        command = [*SWEEP, "run", str(study), "--store", str(stores)]
        run = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment())
    driver = psutil.Process(run.pid)
    while run.poll() is None:
        with suppress(psutil.Error, FileNotFoundError):
            times, n_done = driver.cpu_times(), sum(1 for _ in layout.trials.iterdir())
            at_s = time.perf_counter() - began
            looks.append(Look(n_done, times.user + times.system, driver.memory_info().rss / MIB, at_s))
            first_s = first_s or (at_s if n_done else 0.0)
            workers.update(child.pid for child in driver.children(recursive=True) if WORKER in child.name())
        time.sleep(LOOK_EVERY_S)
    if run.returncode:
        raise SystemExit(f"ended with {run.returncode}; see {log.name}")
    return looks, workers, first_s


def by_fifths(looks: list[Look], n_trials: int) -> list[Look]:
    """The looks at which a fifth, two, … of the trials had begun; the first one when the first had."""
    marks = [1, *(n_trials * fifth // 5 for fifth in range(1, 6))]
    return [next(look for look in looks if look.n_done >= mark) for mark in marks]


def main(name: str, folder: Path) -> None:
    """Print milliseconds of the driver a trial and its memory by fifths, then what the slots did."""
    contest = Contest(name, folder)
    n_trials = len(contest.design.trials)
    say(f"{name}: {n_trials} trials, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; inputs prepared")
    stores = folder / "stores"
    shutil.copytree(contest.prepared, stores)
    stores.chmod(0o700)
    looks, workers, first_s = followed(contest.study, stores)
    say(f"first trial begun after {first_s:.1f} s, ended after {looks[-1].at_s:.1f} s")
    fifths = by_fifths(looks, n_trials)
    for before, after in pairwise(fifths):
        per_trial = (after.cpu_s - before.cpu_s) / (after.n_done - before.n_done) * 1000
        took = f"driver {per_trial:.1f} ms CPU a trial, {after.rss_mib:.0f} MiB, {after.at_s - before.at_s:.1f} s"
        say(f"trials {before.n_done} to {after.n_done}: {took}")
    say(f"driver in all {looks[-1].cpu_s:.1f} CPU-s; {fifths[-1].rss_mib - fifths[1].rss_mib:+.0f} MiB from 20 % on")
    outcomes = [Outcome.load(path) for path in StoreLayout(stores / "bench").trials.glob("*/outcome.json")]
    busy_s, shares = defaultdict[int, float](float), Counter[int]()
    for outcome in outcomes:
        busy_s[outcome.provenance.pid] += outcome.cost.wall_s
        shares[outcome.provenance.pid] += 1
    span_s = fifths[-1].at_s - fifths[0].at_s
    for pid, n in shares.most_common():
        say(f"a worker: {n} trials, busy {busy_s[pid] / span_s:.1%} of {span_s:.1f} s")
    say(f"workers seen: {sum(n > 1 for n in workers.values())}, of which {len(shares)} ran trials")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=STUDIES, nargs="?", default="micro1000")
    with tempfile.TemporaryDirectory() as made:
        main(parser.parse_args().study, Path(made))
