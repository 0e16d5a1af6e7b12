"""What a warm worker saves: one trial in a fresh process against the same trial in a process that stays.

Run by hand: `python tests/benchmarks/warm_workers.py`. Fresh and warm alternate (A B A B …) in one run, so that a noisy
machine touches both; only the ratio means anything. Every trial has a seed of its own, so none is found done.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.studies.orders import micro_spec, micro_training, order_of
from workers.attempt.runner import Runner
from workers.preparing.prepare import prepare

ROUNDS = 5


def fresh(order_file: Path) -> float:
    """Seconds of one trial in a new process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "workers", "run", str(order_file)], check=True, capture_output=True)
    return time.perf_counter() - started


def warm(runner: Runner, order_file: Path) -> float:
    """Seconds of one trial in this process."""
    from workers.contract.trial import WorkOrder

    started = time.perf_counter()
    for _ in runner.run(WorkOrder.model_validate_json(order_file.read_bytes())):
        pass
    return time.perf_counter() - started


def main() -> None:
    """Print the seconds of each round and the ratio of the medians."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        orders = [order_of(micro_spec(training=micro_training(seed=seed)), store) for seed in range(2 * ROUNDS + 1)]
        files = []
        for number, order in enumerate(orders):
            files.append(Path(folder) / f"{number}.json")
            files[-1].write_text(order.model_dump_json())
        prepare(orders[:1])
        runner = Runner(n_threads=1)
        warm(runner, files.pop())
        pairs = [(fresh(files.pop()), warm(runner, files.pop())) for _ in range(ROUNDS)]
    for number, (a, b) in enumerate(pairs, start=1):
        sys.stdout.write(f"round {number}: fresh {a:6.2f} s   warm {b:6.2f} s   ratio {a / b:5.1f}\n")
    ratio = statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)
    sys.stdout.write(f"ratio of medians: {ratio:.1f}\n")


if __name__ == "__main__":
    main()
