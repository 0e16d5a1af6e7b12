"""Failure classes, from exceptions that the libraries themselves raise where that can be had."""

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import SafetensorError

from support.stores.file_systems import out_of_reach
from workers.contract.errors import InputError, Problem, StoreError, TrialError
from workers.contract.inputs import Manifest
from workers.contract.outcome import FailureKind, Outcome
from workers.work.faults import TrialTimeout, classify, full_place, place_of, spoils_process
from workers.work.memory import memory_now

FULL_DEVICE = Path("/dev/full")
TOO_MUCH = 10**15
STORE = Path("/data/store/study")


def raised_by(call: Callable[[], object]) -> Exception:
    try:
        call()
    except Exception as error:  # noqa: BLE001  # whatever a library raises is what is looked at
        return error
    raise AssertionError("nothing was raised")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def while_handling(error: Exception, context: Exception) -> Exception:
    error.__context__ = context
    return error


@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.empty(TOO_MUCH),
        lambda: np.zeros(TOO_MUCH),
        lambda: pa.allocate_buffer(TOO_MUCH),
        lambda: bytearray(TOO_MUCH),
    ],
    ids=["torch", "numpy", "pyarrow", "python"],
)
def test_an_allocation_that_is_too_large_is_want_of_memory_in_every_library(call: Callable[[], object]) -> None:
    assert classify(raised_by(call), store=STORE) is FailureKind.OUT_OF_MEMORY


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        while_handling(ValueError("in a finally"), MemoryError()),
    ],
)
def test_want_of_memory_is_recognised_wherever_it_began(error: Exception) -> None:
    assert classify(error, store=STORE) is FailureKind.OUT_OF_MEMORY


@pytest.mark.skipif(not FULL_DEVICE.is_char_device(), reason="needs a device that is always full")
@pytest.mark.parametrize(
    "call",
    [
        lambda path: pq.write_table(pa.table({"a": list(range(100_000))}), path),
        lambda path: pd.DataFrame({"a": np.random.default_rng(0).random(100_000)}).to_parquet(path),
        lambda path: path.write_text("text"),
    ],
    ids=["pyarrow", "pandas", "python"],
)
def test_a_full_disk_is_recognised_through_every_library(tmp_path: Path, call: Callable[[Path], object]) -> None:
    """Through a link: a library may delete what it could not write."""
    link = tmp_path / "full"
    link.symlink_to(FULL_DEVICE)
    assert classify(raised_by(lambda: call(link)), store=tmp_path) is FailureKind.DISK_FULL


@pytest.mark.parametrize(
    "error",
    [
        # As safetensors 0.8 words it on a full tmpfs.
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        caused(StoreError("the cohort can't be written"), OSError(errno.ENOSPC, "No space left on device")),
        OSError(errno.ENOSPC, "No space left on device", str(STORE / "trials" / "0" / "predictions.parquet")),
        caused(OSError("state.safetensors could not be written"), SafetensorError("I/O error (os error 122)")),
    ],
)
def test_no_room_is_recognised_anywhere_in_the_chain(error: Exception) -> None:
    assert classify(error, store=STORE) is FailureKind.DISK_FULL


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("/tmp/x", "the temporary folder (TMPDIR) has no room"),
        ("/dev/shm", "shared memory (/dev/shm) has no room"),
        ("/home/someone/.cache/MRN-4711", "a folder outside of the store has no room"),
        (f"{STORE}-2", "a folder outside of the store has no room"),
    ],
)
def test_a_disk_that_is_full_elsewhere_ends_no_launch_and_is_named_without_its_files(
    folder: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    error = OSError(errno.ENOSPC, "No space left on device", f"{folder}/MRN-4711.bin")
    assert classify(error, store=STORE) is FailureKind.STORAGE
    place = full_place(error, store=STORE)
    assert place.startswith(words)
    assert "MRN" not in place


def test_a_store_below_the_temporary_folder_is_the_store(tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.symlink_to(tmp_path / "real")
    for folder in (tmp_path / "real", linked):
        error = OSError(errno.ENOSPC, "No space left on device", str(folder / "leases"))
        assert classify(error, store=linked) is FailureKind.DISK_FULL
        assert full_place(error, store=linked) == ""


def test_room_that_lacks_in_the_store_as_well_as_elsewhere_is_a_full_disk() -> None:
    elsewhere = OSError(errno.ENOSPC, "No space left on device", "/tmp/x")
    assert classify(caused(StoreError("can't be written"), elsewhere), store=STORE) is FailureKind.STORAGE
    assert classify(caused(OSError(errno.ENOSPC, "No space"), elsewhere), store=STORE) is FailureKind.DISK_FULL


@pytest.mark.parametrize(
    ("error", "is_spoilt"),
    [
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"), True),
        (while_handling(ValueError("in a finally"), torch.AcceleratorError("CUDA error: unknown error")), True),
        (torch.AcceleratorError("CUDA error: out of memory"), False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_a_gpu_that_failed_spoils_its_process_and_one_that_is_full_does_not(error: Exception, is_spoilt: bool) -> None:
    assert spoils_process(error) is is_spoilt


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.EIO, "Input/output error"), FailureKind.STORAGE),
        (PermissionError(errno.EACCES, "Permission denied"), FailureKind.STORAGE),
        (caused(StoreError("a file vanished"), FileNotFoundError(errno.ENOENT, "")), FailureKind.STORAGE),
        (StoreError("prompt_tokens is damaged"), FailureKind.DATA),
        (InputError(Problem("cohort", "is empty", "give another")), FailureKind.DATA),
        (pa.ArrowInvalid("not a Parquet file"), FailureKind.DATA),
        (TrialTimeout("it took longer than 3 s"), FailureKind.TIMEOUT),
        (TrialError("it can't go on"), FailureKind.CODE),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), FailureKind.CODE),
        (KeyError("column"), FailureKind.CODE),
    ],
)
def test_everything_else_has_its_class(error: Exception, kind: FailureKind) -> None:
    assert classify(error, store=STORE) is kind


@pytest.mark.parametrize("load", [Outcome.load, Manifest.load])
def test_what_is_stored_is_not_wrong_where_the_store_is_only_out_of_reach(
    tmp_path: Path, load: Callable[[Path], object]
) -> None:
    path = tmp_path / "stored.json"
    path.write_text("{")
    assert classify(raised_by(lambda: load(path)), store=STORE) is FailureKind.DATA
    with out_of_reach(path):
        error = raised_by(lambda: load(path))
    assert classify(error, store=STORE) is FailureKind.STORAGE
    assert "see that this node reaches it" in str(error) and "delete" not in str(error)


def test_a_chain_that_bites_its_tail_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    assert classify(first, store=STORE) is FailureKind.CODE


def test_the_place_of_a_librarys_error_is_the_last_frame_of_ours(tmp_path: Path) -> None:
    from workers.contract.system.durable import sync_tree

    place = place_of(raised_by(lambda: sync_tree(tmp_path / "gone")))
    assert place.startswith("contract/system/durable.py:")


def test_the_evidence_of_want_of_memory_holds_numbers_of_process_and_machine() -> None:
    evidence = memory_now()
    assert evidence.startswith("process ")
    assert " MiB available" in evidence
    assert int(evidence.split()[1]) > 50
