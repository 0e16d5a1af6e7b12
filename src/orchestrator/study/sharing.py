"""What a trial may share out: its devices, its processes, its batches."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from workers.contract.errors import Problem
from workers.contract.trial import PARTED

if TYPE_CHECKING:
    from orchestrator.study.rules import StudyDraft


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
