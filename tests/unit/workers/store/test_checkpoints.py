"""Resume points on disk: a whole one comes back as it was, a damaged or foreign one is passed over, two are kept."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from support.schedules.stepping import Disk, Process
from support.stores.file_systems import files_of_at_most, out_of_reach
from workers.store.checkpoints import MANIFEST, TENSORS, Checkpoint, Checkpoints, Found, Origin, remove_checkpoints
from workers.training.steps import StepRecord

ORIGIN = Origin.here("f00d", world_size=1)


def checkpoint_at(step: int) -> Checkpoint:
    """Of its history the last ten steps: a million rows take 2 s."""
    tensors = {"weights.0": torch.full((4, 3), float(step)), "step.0": torch.tensor(float(step))}
    return Checkpoint(
        step,
        tensors,
        {"history": [{"step": n, "loss": 1 / n, "share": None} for n in range(max(step - 9, 1), step + 1)]},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "f00d"


@pytest.fixture
def checkpoints(folder: Path) -> Checkpoints:
    return Checkpoints(folder, ORIGIN)


def save(checkpoints: Checkpoints, *steps: int) -> None:
    for step in steps:
        checkpoints.save(checkpoint_at(step), device="cpu")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def step_found(checkpoints: Checkpoints) -> int | None:
    found = checkpoints.newest().checkpoint
    return None if found is None else found.step


def test_what_was_saved_comes_back_bit_for_bit(checkpoints: Checkpoints) -> None:
    saved = checkpoint_at(7)
    checkpoints.save(saved, device="cpu")
    found = checkpoints.newest()
    assert found.n_skipped == 0
    assert found.checkpoint is not None
    assert (found.checkpoint.step, found.checkpoint.rows) == (7, saved.rows)
    assert found.checkpoint.tensors.keys() == saved.tensors.keys()
    assert all(torch.equal(found.checkpoint.tensors[name], tensor) for name, tensor in saved.tensors.items())


def test_without_one_there_is_nothing_to_resume_from(checkpoints: Checkpoints) -> None:
    found = checkpoints.newest()
    assert (found.checkpoint, found.n_skipped) == (None, 0)


def test_a_folder_that_goes_while_it_is_looked_through_holds_nothing(checkpoints: Checkpoints, folder: Path) -> None:
    """Two trials of one training: one commits as the other begins."""
    save(checkpoints, 1)
    found: list[Found] = []
    beginning = Process("trial", Disk(folder, quiet=folder / "nothing"), lambda: found.append(checkpoints.newest()))
    beginning.go_on(100, stops_at="os.scandir")
    remove_checkpoints(folder)
    beginning.go_on(100)
    assert beginning.error is None
    assert found == [Found(None, 0)]


def test_two_are_kept_and_steps_are_ordered_by_number(checkpoints: Checkpoints, folder: Path) -> None:
    save(checkpoints, 5, 999_998, 999_999, 1_000_000)
    assert names_in(folder) == ["step-1000000", "step-999999"]
    assert step_found(checkpoints) == 1_000_000


def test_nothing_but_safetensors_parquet_and_a_manifest_is_written(checkpoints: Checkpoints, folder: Path) -> None:
    save(checkpoints, 3)
    assert names_in(folder) == ["step-000003"]
    assert names_in(folder / "step-000003") == ["history.parquet", MANIFEST, TENSORS]


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_byte(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 0xFF
    path.write_bytes(body)


@pytest.mark.parametrize("name", [TENSORS, "history.parquet", MANIFEST])
@pytest.mark.parametrize("damage", [truncate, flip_a_byte, Path.unlink])
def test_a_damaged_one_is_passed_over_for_the_one_before_it(
    checkpoints: Checkpoints, folder: Path, name: str, damage: Callable[[Path], None]
) -> None:
    save(checkpoints, 10, 20)
    damage(folder / "step-000020" / name)
    found = checkpoints.newest()
    assert found.checkpoint is not None
    assert (found.checkpoint.step, found.n_skipped) == (10, 1)


def test_one_under_another_steps_name_is_passed_over(checkpoints: Checkpoints, folder: Path) -> None:
    save(checkpoints, 10)
    (folder / "step-000010").rename(folder / "step-000030")
    assert checkpoints.newest().n_skipped == 1


def test_a_damaged_one_does_not_stand_in_the_way_of_a_new_one(checkpoints: Checkpoints, folder: Path) -> None:
    save(checkpoints, 10, 20)
    truncate(folder / "step-000020" / TENSORS)
    checkpoints.newest()
    save(checkpoints, 20)
    assert checkpoints.newest().n_skipped == 0
    assert step_found(checkpoints) == 20


@pytest.mark.parametrize(
    "other",
    [
        ORIGIN.model_copy(update={"training_id": "beef"}),
        ORIGIN.model_copy(update={"world_size": 2}),
        ORIGIN.model_copy(update={"versions": ORIGIN.versions | {"torch": "1.0.0"}}),
        ORIGIN.model_copy(update={"versions": ORIGIN.versions | {"peft": "0.0.1"}}),
        ORIGIN.model_copy(update={"format": 0}),
    ],
)
def test_one_of_other_content_is_not_used_and_its_successor_is_kept(folder: Path, other: Origin) -> None:
    save(Checkpoints(folder, other), 10, 20)
    own = Checkpoints(folder, ORIGIN)
    found = own.newest()
    assert (found.checkpoint, found.n_skipped) == (None, 2)
    save(own, 4)
    assert step_found(own) == 4


def test_one_that_does_not_fit_the_engine_is_passed_over(checkpoints: Checkpoints) -> None:
    save(checkpoints, 10, 20)
    found = checkpoints.newest(lambda tensors: bool((tensors["weights.0"] < 15).all()))
    assert found.checkpoint is not None
    assert (found.checkpoint.step, found.n_skipped) == (10, 1)


def test_a_half_written_one_of_a_killed_attempt_is_no_checkpoint_and_goes(
    checkpoints: Checkpoints, folder: Path
) -> None:
    save(checkpoints, 10)
    shutil.copytree(folder / "step-000010", folder / ".tmp-killed-1-abcdefgh")
    (folder / ".tmp-killed-1-abcdefgh" / MANIFEST).unlink()
    found = checkpoints.newest()
    assert found.n_skipped == 0
    assert names_in(folder) == ["step-000010"]


def test_of_two_attempts_at_one_step_the_first_stays_and_the_second_leaves_nothing(folder: Path) -> None:
    first, second = Checkpoints(folder, ORIGIN), Checkpoints(folder, ORIGIN)
    save(first, 10)
    inode = (folder / "step-000010" / TENSORS).stat().st_ino
    save(second, 10)
    assert (folder / "step-000010" / TENSORS).stat().st_ino == inode
    assert names_in(folder) == ["step-000010"]


def test_a_zombie_that_saves_after_the_commit_harms_nothing(checkpoints: Checkpoints, folder: Path) -> None:
    save(checkpoints, 10)
    remove_checkpoints(folder)
    assert not folder.exists()
    remove_checkpoints(folder)
    save(checkpoints, 20)
    assert step_found(checkpoints) == 20


def test_while_the_store_is_out_of_reach_a_sound_one_is_neither_used_nor_set_aside(
    checkpoints: Checkpoints, folder: Path
) -> None:
    save(checkpoints, 10, 20)
    with out_of_reach(folder / "step-000020" / MANIFEST), pytest.raises(OSError, match="symbolic links"):
        checkpoints.newest()
    assert names_in(folder) == ["step-000010", "step-000020"]
    found = checkpoints.newest()
    assert (found.n_skipped, found.checkpoint and found.checkpoint.step) == (0, 20)


@pytest.mark.parametrize("n_bytes", [0, 100, 300, 700])
def test_one_that_can_not_be_written_raises_and_leaves_the_others_alone(
    checkpoints: Checkpoints, folder: Path, n_bytes: int
) -> None:
    save(checkpoints, 10, 20)
    with files_of_at_most(n_bytes), pytest.raises(OSError):
        save(checkpoints, 30)
    assert names_in(folder) == ["step-000010", "step-000020"]
    assert checkpoints.newest().n_skipped == 0


def test_the_manifest_names_threads_device_and_versions(checkpoints: Checkpoints, folder: Path) -> None:
    save(checkpoints, 10)
    manifest = json.loads((folder / "step-000010" / MANIFEST).read_text())
    assert (manifest["n_threads"], manifest["device"]) == (torch.get_num_threads(), "cpu")
    assert set(manifest["origin"]["versions"]) == {"torch", "transformers", "peft", "deepspeed"}
    assert set(manifest["files"]) == {"history.parquet", TENSORS}


def adapter_shapes_of_a_135m_base(*, rank: int = 8) -> list[tuple[int, int]]:
    """SmolLM2-135M: 30 layers of width 576, three key-value heads of 64, 1,536 in the middle."""
    linears = [(576, 576), (576, 192), (576, 192), (576, 576), (576, 1536), (576, 1536), (1536, 576)]
    return 30 * [shape for n_in, n_out in linears for shape in ((rank, n_in), (n_out, rank))]


def test_one_costs_three_times_the_adapter_and_less_than_a_megabyte_for_thousands_of_steps(folder: Path) -> None:
    shapes = adapter_shapes_of_a_135m_base()
    tensors = {
        f"{name}.{number}": torch.randn(shape)
        for number, shape in enumerate(shapes)
        for name in ("weights", "exp_avg", "exp_avg_sq")
    }
    tensors |= {f"step.{number}": torch.tensor(1.0) for number in range(len(shapes))}
    tensors["random.cpu"] = torch.get_rng_state()
    draw = np.random.default_rng(0)
    steps = 10_000
    losses, norms = (draw.gamma(2, size=steps).astype(np.float32).astype(float) for _ in range(2))
    rows = [
        vars(
            StepRecord(
                step=step,
                loss=losses[step - 1],
                learning_rate=1e-3 / step,
                grad_norm=norms[step - 1],
                n_target_tokens=int(draw.integers(280, 320)),
                n_input_tokens=int(draw.integers(1200, 1800)),
                wall_s=0.05 * step + draw.random(),
                label_loss_share=draw.random(),
                n_label_tokens=8,
                n_loss_tokens=300,
                label_gradient_share=draw.random() if step % 10 == 1 else None,
            )
        )
        for step in range(1, steps + 1)
    ]
    Checkpoints(folder, ORIGIN).save(Checkpoint(steps, tensors, {"history": rows}), device="cpu")
    n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    adapter = 4 * sum(n_in * n_out for n_in, n_out in shapes)
    assert n_bytes <= 3 * adapter + 1_000_000
    assert (folder / "step-010000" / "history.parquet").stat().st_size < 35 * steps
