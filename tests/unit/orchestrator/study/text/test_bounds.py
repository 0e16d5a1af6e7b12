"""Before anything is built of a study file it is known how much that would be, and too much is refused at once."""

import os
import socket
from pathlib import Path
from time import process_time

import pytest

from orchestrator.design.grid import expand
from orchestrator.study.resources import TrialShare
from orchestrator.study.study import load_sealed, load_study, sealed_text
from orchestrator.study.text.source import read_source
from support.places import SWEEPS
from support.studies.files import only_problem, problems_of, write
from workers.contract.errors import InputError

SOUND = (SWEEPS / "quickstart.yaml").read_text()


LAUGHS = "x0: &a0 [1, 1]\n" + "".join(f"x{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
CHAIN = "x0: &a0 [1]\n" + "".join(f"x{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 1000))
MERGES = "x0: &a0 {a: 1}\n" + "".join(f"x{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 10))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "holds more than 10,000 values, aliases written out"),
        (MERGES, "holds more than 10,000 values, aliases written out"),
        (f"seed: [{', '.join(map(str, range(10_000)))}]\n", "holds more than 10,000 values"),
        (CHAIN, "is nested more than 32 levels deep"),
        ("[" * 5000, "is nested more than 32 levels deep"),
        ("".join(f"{' ' * n}a:\n" for n in range(500)), "is nested more than 32 levels deep"),
        ("# a comment\n" * 30_000, "holds more than 262,144 bytes"),
    ],
    ids=["aliases", "merges", "list", "chain", "brackets", "mappings", "size"],
)
def test_what_a_file_would_unfold_to_is_bounded_before_it_is_built(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    began = process_time()
    assert message in only_problem(path)
    assert process_time() - began < 5  # seconds; unbounded ones take minutes


def test_an_alias_and_a_merge_within_the_bounds_are_what_they_stand_for(tmp_path: Path) -> None:
    text = "first: &first {a: 1, b: &b [x, 2]}\nsecond: {<<: [*first, {a: 3, c: 4}], b: *b, d: 2001-01-01}\n"
    assert read_source(write(tmp_path, text)).data == {
        "first": {"a": 1, "b": ["x", 2]},
        "second": {"a": 1, "b": ["x", 2], "c": 4, "d": "2001-01-01"},
    }


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "loop"])
def test_what_is_no_regular_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    with socket.socket(socket.AF_UNIX) as listening:
        match kind:
            case "pipe":
                os.mkfifo(path)
            case "device":
                path.symlink_to("/dev/zero")
            case "socket":
                listening.bind(str(path))
            case "loop":
                path.symlink_to(path)
        assert "can't be read (" in only_problem(path)


def test_of_very_many_problems_the_first_are_said(tmp_path: Path) -> None:
    found = problems_of(write(tmp_path, SOUND + "".join(f"key{n}: 1\n" for n in range(4000))))
    assert len(found) == 101
    assert str(found[-1]) == "the file: has more problems; mend these first"


def test_the_size_of_a_design_is_known_before_it_is_made(tmp_path: Path) -> None:
    thousand = ", ".join(str(2 * n) for n in range(1, 1001))
    text = SOUND.replace("train_size: [128, 640]", f"train_size: [{thousand}]").replace("[11, 23]", f"[{thousand}]")
    study = load_study(write(tmp_path, text))
    began = process_time()
    with pytest.raises(InputError, match="axes: cross to 3,000,000 trials, and a study has at most 100,000; take"):
        expand(study)
    assert process_time() - began < 1  # s


@pytest.mark.parametrize(
    ("training", "resources", "said"),
    [
        (
            "",
            "  processes_per_trial: 4\n  nodes_per_trial: 3",
            "resources.nodes_per_trial: the processes of a trial, 4, can't be spread evenly over 3",
        ),
        (
            "",
            "  nodes_per_trial: 2",
            "can't be spread evenly over 2 nodes; write a multiple of 2 as `processes_per_trial`",
        ),
        (
            "weight_decay: 0",
            "  processes_per_trial: 7",
            "training.batch_size: 32 examples can't be shared evenly by the 7 processes",
        ),
        (
            "",
            "  processes_per_trial: 4\n  by_base: {tiny-llama: {nodes_per_trial: 3}}",
            "resources.by_base.tiny-llama.nodes_per_trial: the processes of a trial, 4, can't be spread evenly over 3",
        ),
        (
            "",
            "  by_base: {tiny-lama: {gpus_per_trial: 0.5}}",
            "tiny-lama is not among `bases`; did you mean `tiny-llama`?",
        ),
        ("", "  by_base: {tiny-llama: {gpus_per_trial: 2}}", "resources.by_base.tiny-llama.gpus_per_trial: 2 would"),
        (
            "",
            "  processes_per_trial: 2\n  by_base: {tiny-llama: {gpus_per_trial: 0.5}}",
            "resources.by_base.tiny-llama.gpus_per_trial: of the 2 processes of a trial two could meet on one GPU",
        ),
        ("", "  by_base: {tiny-llama: {gpus: 2}}", "resources.by_base.tiny-llama.gpus: is not a known key"),
        (
            "zero_stage: 3\n  diagnostics: {n_probe: 8}",
            "  processes_per_trial: 2",
            "training.diagnostics.n_probe: gradients",
        ),
    ],
)
def test_what_several_processes_cannot_share_is_refused(
    tmp_path: Path, training: str, resources: str, said: str
) -> None:
    text = SOUND.replace("training:\n", f"training:\n  {training}\n")
    text = text.replace("  cpus_per_trial: 1\n", f"  cpus_per_trial: 1\n{resources}\n")
    assert said in only_problem(write(tmp_path, text))


def test_a_base_reserves_what_it_says_and_else_what_all_do_and_is_sealed_so(tmp_path: Path) -> None:
    text = SOUND.replace(
        "cpus_per_trial: 1\n", "cpus_per_trial: 3\n  by_base: {tiny-llama: {processes_per_trial: 2}}\n"
    )
    study = load_study(write(tmp_path, text))
    sealed = tmp_path / "study.json"
    sealed.write_text(sealed_text(study))
    for each in (study.resources, load_sealed(sealed).resources):
        assert each.share_of("tiny-llama") == TrialShare(cpus_per_trial=3, processes_per_trial=2)
        assert each.share_of("another") == each.share_of(None) == TrialShare(cpus_per_trial=3)


def test_a_trial_on_several_gpus_is_refused_as_long_as_it_would_use_one(tmp_path: Path) -> None:
    text = SOUND.replace("training:\n", "training:\n  zero_stage: 2\n")
    text = text.replace("gpus_per_trial: 1", "gpus_per_trial: 4")
    assert "resources.gpus_per_trial: 4 would leave all but one idle" in only_problem(write(tmp_path, text))


def test_a_trial_on_a_gpu_takes_some_of_one(tmp_path: Path) -> None:
    text = SOUND.replace("gpus_per_trial: 1", "gpus_per_trial: 0\n  device: gpu")
    assert "resources.gpus_per_trial: 0 takes no GPU, and" in only_problem(write(tmp_path, text))


@pytest.mark.parametrize("value", ["-1", "half", "Auto", "null"])
def test_what_is_no_part_of_a_gpu_is_refused_where_it_stands(tmp_path: Path, value: str) -> None:
    said = only_problem(write(tmp_path, SOUND.replace("gpus_per_trial: 1", f"gpus_per_trial: {value}")))
    assert f"resources.gpus_per_trial: {value} is not a number in [0, ∞) or auto; write 1 for each" in said
