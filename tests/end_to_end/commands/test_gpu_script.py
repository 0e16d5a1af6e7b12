"""`make bench-gpu` as a bare machine runs it, in tiny shapes on a CPU: it breaks here, not on a GPU that was lent."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from support.places import REPOSITORY

BENCHMARKS = REPOSITORY / "tests" / "benchmarks"
THERE = ("torch", "transformers", "peft")
PARTS = ("a1", "a2", "b1", "b2", "b3", "b4", "c1")
Line = dict[str, object]


def carried() -> list[str]:
    """What `make gpu-wheels` fetches."""
    lines = (BENCHMARKS / "on_gpu" / "wheels.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def with_needs(names: tuple[str, ...]) -> set[str]:
    """These packages and all that pip would install with them."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        needs = [] if name in found else [Requirement(line) for line in requires(name) or []]
        found.add(name)
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def lay_out(site: Path, packages: set[str]) -> None:
    """A machine that has these packages and nothing else, made of links."""
    site.mkdir()
    for package in packages:
        for file in distribution(package).files or []:
            top = file.parts[0]
            if top not in {"..", "__pycache__"} and not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution(package).locate_file(top))))


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[Line]:
    """What the script prints, all parts in one process, without a Ray, MLflow, pyarrow or scikit-learn to import."""
    site = tmp_path_factory.mktemp("bare") / "site"
    lay_out(site, with_needs(THERE) | set(carried()))
    done = subprocess.run(
        [sys.executable, "-S", str(BENCHMARKS / "gpu.py"), "--tiny"],
        env=os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def figures(lines: list[Line], name: str) -> list[Line]:
    return [line for line in lines if line.get("name") == name]


def test_the_first_line_names_device_and_versions(lines: list[Line]) -> None:
    assert {"device", "torch", "transformers", "peft", "deepspeed"} <= set(lines[0])


@pytest.mark.parametrize("part", PARTS)
def test_each_part_measures_to_its_end(lines: list[Line], part: str) -> None:
    ended = [line for line in lines if line.get("part") == part and "seconds" in line]

    assert [line["skipped"] for line in ended] == [[]]


def test_four_architectures_score_alone_as_together(lines: list[Line]) -> None:
    held = [line["of"] for line in figures(lines, "alone against together") if line["holds"]]

    assert held == ["llama, float32", "mistral, float32", "gemma2, float32", "phi3, float32"]


def test_training_is_compared_with_the_cpu_in_three_precisions(lines: list[Line]) -> None:
    assert len(figures(lines, "training loss against float32 on the CPU")) == 12


def test_deepspeed_trains_as_plain_torch(lines: list[Line]) -> None:
    (figure,) = figures(lines, "training loss through DeepSpeed against plain torch")

    assert figure["holds"] is True


def test_a_whole_trial_says_what_it_lacks(lines: list[Line]) -> None:
    (figure,) = figures(lines, "a whole trial")

    assert "pyarrow, sklearn, scipy" in str(figure["value"])


def test_training_writing_and_workers_have_a_speed(lines: list[Line]) -> None:
    names = ("training", "training through DeepSpeed", "writing", "workers side by side")
    speeds = [line["value"] for name in names for line in figures(lines, name)]

    assert len(speeds) == 9
    assert all(isinstance(speed, float) and speed > 0 for speed in speeds)


def test_every_other_way_to_train_has_its_time(lines: list[Line]) -> None:
    ways = [line for line in lines if line.get("part") == "b4" and "name" in line]

    assert [line["name"] for line in ways] == ["a step, plain", "a step, activations computed twice"]
    assert all(isinstance(line["value"], float) for line in ways)


def test_a_spent_budget_names_what_was_skipped() -> None:
    import torch

    from benchmarks.on_gpu.measuring import Setting
    from benchmarks.on_gpu.speeds import train_smollm2

    setting = Setting(device=torch.device("cpu"), is_tiny=True, ends_at=5.0, clock=lambda: 6.0)

    assert list(train_smollm2(setting)) == []
    assert setting.skipped == ["float32"]
