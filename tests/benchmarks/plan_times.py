"""How long `sweep plan` takes, whole command in a fresh process, for 504, 5,040 and 50,400 trials.

The 504-trial study with more seeds; once on an empty store, once on one that holds all inputs and a valid outcome of
every trial, so that every file is read and checked. Outcomes are those of one invented trial under the ids of all, 300
MB at the largest.

Run by hand: `python tests/benchmarks/plan_times.py [folder] [--upto 50400]`; a folder that is given keeps its stores.
"""

import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from orchestrator.design.grid import expand
from orchestrator.study.study import load_study
from support.stores.builders import commit_trial, invent_people, predict
from workers.contract.inputs import Manifest, input_recipes
from workers.contract.layout import StoreLayout

STUDY = Path(__file__).parents[2] / "sweeps" / "adrd-504-tiny.yaml"
SEEDS = "seed: [11, 23]"
SWEEP = Path(sys.executable).with_name("sweep")
N_SEEDS = {504: 2, 5_040: 20, 50_400: 200}
N_ROUNDS = 3


def write_study(folder: Path, *, n_seeds: int) -> Path:
    """The study with so many seeds, under another name."""
    text = STUDY.read_text()
    if SEEDS not in text:
        raise SystemExit(f"{STUDY.name} no longer has `{SEEDS}`; mend this benchmark")
    text = text.replace(SEEDS, f"seed: {list(range(n_seeds))}").replace(
        "study: adrd-504-tiny", f"study: seeds-{n_seeds}"
    )
    path = folder / f"seeds-{n_seeds}.yaml"
    path.write_text(text)
    return path


def fill(layout: StoreLayout, study: Path) -> None:
    """Write a sealed outcome for every trial; files and fsync are left out, for nobody looks at them here."""
    design = expand(load_study(study))
    with tempfile.TemporaryDirectory() as scratch:
        sample = StoreLayout(Path(scratch))
        commit_trial(
            sample, design.trials[1], predict(invent_people(300), design.trials[1], signal=1, invalid_rate=0.05)
        )
        template: dict[str, Any] = json.loads(sample.outcome(design.trials[1].trial_id).read_bytes())
    for trial in design.everything:
        body = template | {
            "trial_id": trial.trial_id,
            "training_id": trial.spec.training_id,
            "cell_id": trial.cell_id,
            "trial": trial.model_dump(mode="json"),
        }
        del body["checksum"]
        checksum = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        layout.trial(trial.trial_id).mkdir(parents=True)
        layout.outcome(trial.trial_id).write_text(json.dumps({**body, "checksum": checksum}, indent=1))
    recipes = [recipe for trial in design.everything for recipe in input_recipes(trial.spec).values()]
    for digest, recipe in {recipe.digest(): recipe for recipe in recipes}.items():
        layout.input(digest).mkdir(parents=True)
        manifest = Manifest(recipe=recipe, folder="0a1b2c3d", files={}, counts={})
        layout.manifest(digest).write_text(manifest.model_dump_json())


@dataclass(frozen=True)
class Taken:
    """What one command took, and its line of counts."""

    wall_s: float
    cpu_s: float
    counts: str


def plan(study: Path, stores: Path) -> Taken:
    """Run the command in a process of its own."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([SWEEP, "plan", study, "--store", stores], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    (counts,) = (line for line in done.stdout.splitlines() if "matched cells" in line)
    return Taken(time.perf_counter() - started, cpu_s, counts.split("; ")[1])


def main(folder: Path, *, upto: int) -> None:
    """Print a table: empty and full store in turn, so that a busy minute hits both."""
    sys.stdout.write(
        "| trials | store | wall, median | CPU, median | wall of each | counts |\n|---|---|---|---|---|---|\n"
    )
    for n_trials, n_seeds in N_SEEDS.items():
        if n_trials > upto:
            continue
        study = write_study(folder, n_seeds=n_seeds)
        stores = {"empty": folder / "empty", "full": folder / "full"}
        layout = StoreLayout(stores["full"] / f"seeds-{n_seeds}")
        if not layout.trials.exists():
            fill(layout, study)
        taken: dict[str, list[Taken]] = {name: [] for name in stores}
        for _ in range(N_ROUNDS):
            for name, place in stores.items():
                taken[name].append(plan(study, place))
        for name, rounds in taken.items():
            wall, cpu = (statistics.median(getattr(each, unit) for each in rounds) for unit in ("wall_s", "cpu_s"))
            every = ", ".join(f"{each.wall_s:.2f}" for each in rounds)
            sys.stdout.write(f"| {n_trials:,} | {name} | {wall:.2f} s | {cpu:.2f} s | {every} | {rounds[0].counts} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--upto", type=int, default=max(N_SEEDS))
    given = parser.parse_args()
    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
        main(given.folder, upto=given.upto)
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made), upto=given.upto)
