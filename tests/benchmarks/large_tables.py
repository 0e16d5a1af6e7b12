"""How much memory large tables take: `sweep cohort check`, their preparation, and the comparators on all their codes.

Long tables of invented people: one with many codes (20,000 people, 7,900 codes, 640,000 events), one with many events
(42,566 people, 400 codes, 1.7 million). The peak of each command is that of its largest process.

Run by hand: `OMP_NUM_THREADS=1 python tests/benchmarks/large_tables.py [codes] [events]`; 200 MB of scratch.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from orchestrator.design.grid import expand
from orchestrator.store.orders import write_order
from orchestrator.study.study import load_study
from workers.contract.layout import StoreLayout
from workers.contract.trial import Method, Trial

# Of the codes, one in so many holds a number.
NUMBERS_AMONG_CODES = 10
MIB = 2**20
KIB_PER_MIB = 2**10


@dataclass(frozen=True)
class Size:
    """How large a table is; births, sexes and ends of follow-up are among its events."""

    n_people: int
    n_codes: int
    n_events: int


SIZES = {
    "codes": Size(n_people=20_000, n_codes=7_900, n_events=640_000),
    "events": Size(n_people=42_566, n_codes=400, n_events=1_700_000),
}
STUDY = {
    "study": "large",
    "question": "Does it fit?",
    "prompt": {"template": "history", "max_words": 120},
    "bases": {"micro": {"kind": "builtin", "recipe": "clinical_micro"}},
    "axes": {
        "supervision": ["free_form"], "base": ["micro"], "train_size": [64], "learning_rate": [0.003], "seed": [1],
    },
    "training": {"steps": 2, "batch_size": 8},
    "evaluation": {"controls_per_case": 0.1, "max_new_tokens": 96},
    "controls": ["logistic", "boosting"],
}  # fmt: skip
MAPPING = {
    "shape": "long", "question": "Gout within a year?",
    "id": "who", "time": "when", "clock": "dates", "code": "code", "value": "value",
    "horizon_days": 365, "index": {"rule": "fixed_time", "time": "2015-01-01"},
    "age": {"code": "BIRTH"}, "sex": {"male": "SEX//M", "female": "SEX//F"}, "unlisted": "kept",
    "outcome": {"codes": ["M10"]}, "censoring": {"end": "END"},
}  # fmt: skip


def invent(size: Size) -> pd.DataFrame:
    """A long table: the commonest code is recorded some hundred times as often as the rarest; none tells anything."""
    generator = np.random.default_rng(0)
    n_records = size.n_events - 3 * size.n_people
    codes = np.concatenate([np.arange(size.n_codes), _skewed(generator, size.n_codes, n_records - size.n_codes)])
    is_number = codes % NUMBERS_AMONG_CODES == 0
    day = np.datetime64("2005-01-01") + generator.integers(0, 3_650, n_records)
    records = pd.DataFrame(
        {
            "who": generator.integers(0, size.n_people, n_records),
            "when": day.astype(str),
            "code": np.char.add("C", codes.astype(str)),
            "value": np.where(is_number, generator.normal(100, 15, n_records).round(1), np.nan),
        }
    ).drop_duplicates(["who", "when", "code"])
    people = np.arange(size.n_people)
    births = np.datetime64("1940-01-01") + generator.integers(0, 12_000, size.n_people)
    sexes = np.where(generator.random(size.n_people) < 0.5, "SEX//M", "SEX//F")
    cases = people[generator.random(size.n_people) < 0.1]
    frames = [
        records,
        pd.DataFrame({"who": people, "when": births.astype(str), "code": "BIRTH"}),
        pd.DataFrame({"who": people, "when": "", "code": sexes}),
        pd.DataFrame({"who": people, "when": "2020-01-01", "code": "END"}),
        pd.DataFrame({"who": cases, "when": "2015-06-01", "code": "M10"}),
    ]
    return pd.concat(frames, ignore_index=True)


def _skewed(generator: np.random.Generator, n_codes: int, n: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    shares = 1 / (np.arange(n_codes) + n_codes / 100)
    return generator.choice(n_codes, size=n, p=shares / shares.sum())


def write_study(folder: Path, size: Size) -> Path:
    """The table and a study on it."""
    table = folder / "table.csv"
    invent(size).to_csv(table, index=False)
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    cohort = {"source": "table", "file": str(table), "sha256": digest, "min_cell": 5, "mapping": MAPPING}
    path = folder / "study.yaml"
    path.write_text(json.dumps(STUDY | {"cohort": cohort}))
    return path


def peak_mib(command: Sequence[str | Path]) -> tuple[float, float]:
    """Memory of the largest process of a command, and its wall time in seconds."""
    started = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 2):
        raise SystemExit(f"{command} ended with status {status}")
    return used.ru_maxrss / KIB_PER_MIB, time.perf_counter() - started


def main(names: Sequence[str]) -> None:
    """Print a row a table and command."""
    sys.stdout.write("| table | command | peak MiB | wall s |\n|---|---|---|---|\n")
    for name in names:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            path = write_study(folder, SIZES[name])
            study = load_study(path)
            layout = StoreLayout(folder / "store" / study.study)
            trials = {trial.spec.method: trial for trial in expand(study).everything if trial.spec.train_size is None}
            trials[Method.LORA] = expand(study).trials[0]
            orders = {method: order_of(trial, path, layout) for method, trial in trials.items()}
            worker = [sys.executable, "-m", "workers"]
            commands: dict[str, list[str | Path]] = {
                "sweep cohort check": [sys.executable, "-m", "orchestrator.cli", "cohort", "check", path],
                "prepare the cohort": [*worker, "prepare", orders[Method.LOGISTIC]],
                "logistic trial": [*worker, "run", orders[Method.LOGISTIC]],
                "boosting trial": [*worker, "run", orders[Method.BOOSTING]],
                "prepare prompts, rationales and tokens": [*worker, "prepare", orders[Method.LORA]],
            }
            for what, command in commands.items():
                peak, wall_s = peak_mib(command)
                sys.stdout.write(f"| {name} | {what} | {peak:,.0f} | {wall_s:.0f} |\n")
                sys.stdout.flush()


def order_of(trial: Trial, path: Path, layout: StoreLayout) -> Path:
    """What a worker is given for a trial."""
    return write_order(trial, load_study(path), layout, n_micro_batches=1)


if __name__ == "__main__":
    main(sys.argv[1:] or list(SIZES))
