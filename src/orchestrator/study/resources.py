"""What a trial reserves, and what it may share out: its devices, its processes, its batches."""

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from workers.contract.errors import Problem
from workers.contract.recipes.recipe import Frozen
from workers.contract.trial import PARTED

if TYPE_CHECKING:
    from orchestrator.study.rules import StudyDraft


class Device(StrEnum):
    """What trials run on; `auto` is GPUs where the cluster has or offers any at the first launch, else CPUs."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"


class Resources(Frozen, BaseModel):
    """What one trial reserves, and how it is kept there; no part of an id."""

    cpus_per_trial: float = Field(default=1, gt=0, description="for each of its processes")
    gpus_per_trial: float = Field(
        default=1, ge=0, description="for each of its processes, where trials run on GPUs; 1 at most"
    )
    processes_per_trial: int = Field(
        default=1, ge=1, le=1024, description="that train it together, each on its share of every batch"
    )
    nodes_per_trial: int = Field(
        default=1, ge=1, le=1024, description="that these processes are spread over: 1, or as many as there are"
    )
    device: Device = Field(
        default=Device.AUTO,
        description="what trials run on; auto: GPUs where the cluster has or offers any at the first launch",
    )
    timeout_s: float | None = Field(default=None, gt=0, description="seconds an attempt may take; null is any time")
    checkpoint_every_s: float = Field(default=60, ge=0, description="seconds between resume points; 0 is every step")


def spanned_devices(draft: "StudyDraft") -> Iterator[Problem]:
    """More GPUs than a process uses."""
    n_gpus = draft.sound("resources", "gpus_per_trial")
    if n_gpus is not None and n_gpus > 1:
        at = ("resources", "gpus_per_trial")
        what = f"{draft.source.written(at)} would leave all but one idle: a process uses one device, at any zero_stage"
        remedy = "write 1, and `processes_per_trial` for a trial on more; else more GPUs run more trials at a time"
        yield draft.source.problem(at, what=what, remedy=remedy)


def shared_trials(draft: "StudyDraft") -> Iterator[Problem]:
    """What several processes, or ZeRO 3, can't do."""
    n_processes: int = draft.sound("resources", "processes_per_trial") or 1
    n_nodes: int = draft.sound("resources", "nodes_per_trial") or 1
    if n_nodes not in (1, n_processes):
        what = f"{n_processes} processes can't be spread over {n_nodes} nodes"
        remedy = f"write 1 for one node, or {n_processes} for a node each"
        yield draft.source.problem(("resources", "nodes_per_trial"), what=what, remedy=remedy)
    batch_size: int | None = draft.sound("training", "batch_size")
    if batch_size is not None and batch_size % n_processes:
        what = f"{batch_size} examples can't be shared evenly by the {n_processes} processes of a trial"
        remedy = f"write a multiple of {n_processes}, or fewer `resources.processes_per_trial`"
        yield draft.source.problem(("training", "batch_size"), what=what, remedy=remedy)
    if draft.sound("training", "zero_stage") == PARTED:
        for name in ("gradient_share_every", "n_probe"):
            at = ("training", "diagnostics", name)
            if draft.sound(*at):
                what = "gradients are measured on whole weights, and zero_stage 3 parts them"
                yield draft.source.problem(at, what=what, remedy="write 0 here, or a lower zero_stage")
