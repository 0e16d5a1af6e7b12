"""What a GPU gives: whether numbers are right on it, and how fast it is; random weights, nothing fetched, no Ray.

Run by hand: `make bench-gpu`, or `python tests/benchmarks/gpu.py --part a1`, from a bare checkout. Seven parts, the
most telling first, each within two minutes: nothing new is begun once the budget is spent. One JSON line a figure,
flushed; exit 1 where a check failed or a part broke. Runs on a CPU with `--tiny`, as the tests do.
"""

import argparse
import json
import platform
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

import psutil
import torch

from benchmarks.on_gpu.losses import training_as_it_should_be
from benchmarks.on_gpu.measuring import Part, Setting
from benchmarks.on_gpu.rows import rows_together
from benchmarks.on_gpu.speeds import seven_billion, train_smollm2, write_smollm2
from benchmarks.on_gpu.ways import ways_to_train
from benchmarks.on_gpu.workers_beside import workers_side_by_side

# When the process began: imports take a good part of the first budget.
BEGAN = time.monotonic() - (time.time() - psutil.Process().create_time())
PARTS: dict[str, Part] = {
    "a1": rows_together,
    "a2": training_as_it_should_be,
    "b1": train_smollm2,
    "b2": write_smollm2,
    "b3": workers_side_by_side,
    "b4": ways_to_train,
    "c1": seven_billion,
}
LIBRARIES = ("torch", "transformers", "peft", "deepspeed")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for, all by default; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--tiny", action="store_true", help="tiny shapes: to see that it runs")
    parser.add_argument("--budget", type=float, default=110.0, help="seconds a part, imports included in the first")
    asked = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _say(device=_name_of(device), python=platform.python_version(), **{name: _version(name) for name in LIBRARIES})
    began = BEGAN
    all_hold = True
    for part in asked.part:
        setting = Setting(device=device, is_tiny=asked.tiny, ends_at=began + asked.budget)
        all_hold &= _run(part, setting)
        _say(part=part, seconds=round(time.monotonic() - began, 1), skipped=setting.skipped)
        began = time.monotonic()
    return 0 if all_hold else 1


def _run(part: str, setting: Setting) -> bool:
    """Say each figure once it is there; whether all claims hold."""
    all_hold = True
    try:
        for figure in PARTS[part](setting):
            _say(part=part, **asdict(figure.rounded()))
            all_hold &= figure.holds is not False
    except Exception as error:  # noqa: BLE001  # a part that breaks leaves the others their turn
        traceback.print_exc()
        _say(part=part, broke=f"{type(error).__name__}: {error}")
        return False
    return all_hold


def _say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "absent"


if __name__ == "__main__":
    sys.exit(main())
