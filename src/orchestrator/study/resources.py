"""What a trial reserves, and what it may share out: its devices, its processes, its batches."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, Field

from orchestrator.study.text.problems import closest
from workers.contract.errors import Problem
from workers.contract.recipes.recipe import Frozen
from workers.contract.trial import PARTED

if TYPE_CHECKING:
    from orchestrator.study.rules import StudyDraft


AUTO: Literal["auto"] = "auto"


class Device(StrEnum):
    """What trials run on; `auto` is GPUs where the cluster has or offers any at the first launch, else CPUs."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"


class TrialShare(Frozen, BaseModel):
    """What one trial reserves."""

    cpus_per_trial: float = Field(default=1, gt=0, description="for each of its processes")
    gpus_per_trial: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        default=1.0,
        description="1 for each of its processes, where trials run on GPUs, a part of one that others share, or auto: "
        "the part that a measurement at the first launch finds",
    )
    processes_per_trial: int = Field(
        default=1, ge=1, le=1024, description="that train it together, each on its share of every batch"
    )
    nodes_per_trial: int = Field(
        default=1, ge=1, le=1024, description="that these processes are spread over, as many on each"
    )

    def __str__(self) -> str:
        """For a plan, which knows of no device yet."""
        gpus = "a part of one that is measured" if self.gpus_per_trial == AUTO else f"{self.gpus:g} of them"
        each = f"{self.cpus_per_trial:g} CPUs and, on GPUs, {gpus}"
        if self.processes_per_trial == 1:
            return each
        return f"{self.processes_per_trial} processes on {self.nodes_per_trial} nodes, each {each}"

    @property
    def gpus(self) -> float:
        """Of each process; a whole one until `auto` is decided."""
        return 1.0 if self.gpus_per_trial == AUTO else self.gpus_per_trial

    @property
    def n_here(self) -> int:
        """Processes on each of its nodes."""
        return self.processes_per_trial // self.nodes_per_trial

    @property
    def n_threads(self) -> int:
        """Threads of one process."""
        return max(1, int(self.cpus_per_trial))

    @property
    def size(self) -> tuple[float, float]:
        """GPUs and CPUs in all, by which trials compare."""
        return self.gpus * self.processes_per_trial, self.cpus_per_trial * self.processes_per_trial


class Resources(TrialShare):
    """What each trial reserves, and how it is kept there; no part of an id."""

    device: Device = Field(
        default=Device.AUTO,
        description="what trials run on; auto: GPUs where the cluster has or offers any at the first launch",
    )
    timeout_s: float | None = Field(default=None, gt=0, description="seconds an attempt may take; null is any time")
    checkpoint_every_s: float = Field(default=60, ge=0, description="seconds between resume points; 0 is every step")
    by_base: dict[str, TrialShare] = Field(
        default={}, description="what trials of a base reserve instead, by its name; as all others where silent"
    )

    def share_of(self, base: object) -> TrialShare:
        """That of the trials of a base, or of those that have none."""
        return self.by_base.get(str(base)) or TrialShare(
            **{name: getattr(self, name) for name in TrialShare.model_fields}
        )

    def spelled_out(self) -> Self:
        """The same, where each base says all that its trials reserve."""
        common = dict(self.share_of(None))
        whole = {
            base: TrialShare(**common | share.model_dump(exclude_unset=True)) for base, share in self.by_base.items()
        }
        return self.model_copy(update={"by_base": whole})

    def decided(self, gpus: Mapping[str, float]) -> Self:
        """The same, where `auto` means this of a GPU, by base; what has no base fits beside the smallest."""
        known = {**gpus, str(None): min(gpus.values())} if gpus else {}
        shares = {
            base: share.model_copy(update={"gpus_per_trial": part})
            for base, part in known.items()
            if (share := self.share_of(base)).gpus_per_trial == AUTO
        }
        return self.model_copy(update={"by_base": {**self.by_base, **shares}})


def unknown_shares(draft: "StudyDraft") -> Iterator[Problem]:
    """Shares of bases that there are not."""
    for *_, base in _places(draft)[1:]:
        if base not in draft.names("bases"):
            remedy = closest(base, draft.names("bases"), otherwise="declare it under `bases`")
            yield draft.source.problem(
                ("resources", "by_base", base), what=f"{base} is not among `bases`", remedy=remedy
            )


def spanned_devices(draft: "StudyDraft") -> Iterator[Problem]:
    """More GPUs than a process uses, or none on the device that was asked for."""
    for at in ((*place, "gpus_per_trial") for place in _places(draft)):
        n_gpus = draft.sound(*at)
        if n_gpus == 0 and draft.sound("resources", "device") == Device.GPU:
            what = f"{draft.source.written(at)} takes no GPU, and `resources.device` is gpu"
            yield draft.source.problem(at, what=what, remedy="write 1 or a part of one, or `device: cpu`")
        if n_gpus is None or n_gpus == AUTO or n_gpus <= 1:
            continue
        what = f"{draft.source.written(at)} would leave all but one idle: a process uses one device, at any zero_stage"
        remedy = "write 1, and `processes_per_trial` for a trial on more; else more GPUs run more trials at a time"
        yield draft.source.problem(at, what=what, remedy=remedy)


def shared_trials(draft: "StudyDraft") -> Iterator[Problem]:
    """What several processes, or ZeRO 3, can't do."""
    batch_size: int | None = draft.sound("training", "batch_size")
    for place in _places(draft):
        n_processes, n_nodes = (_said(draft, place, name) for name in ("processes_per_trial", "nodes_per_trial"))
        if n_processes % n_nodes:
            what = f"the processes of a trial, {n_processes}, can't be spread evenly over {n_nodes} nodes"
            remedy = f"write a multiple of {n_nodes} as `processes_per_trial`, or fewer nodes"
            yield draft.source.problem((*place, "nodes_per_trial"), what=what, remedy=remedy)
        if batch_size is not None and batch_size % n_processes:
            what = f"{batch_size} examples can't be shared evenly by the {n_processes} processes of a trial"
            remedy = f"write a multiple of {n_processes}, or fewer `{'.'.join(place)}.processes_per_trial`"
            yield draft.source.problem(("training", "batch_size"), what=what, remedy=remedy)
        written = (draft.sound(*at, "gpus_per_trial") for at in (place, ("resources",)))
        part = next((part for part in written if part is not None), 1)
        if n_processes > 1 and part != AUTO and 0 < part < 1 and draft.sound("resources", "device") != Device.CPU:
            what = f"of the {n_processes} processes of a trial two could meet on one GPU, which NCCL refuses"
            yield draft.source.problem((*place, "gpus_per_trial"), what=what, remedy="write 1")
    if draft.sound("training", "zero_stage") == PARTED:
        for name in ("gradient_share_every", "n_probe"):
            at = ("training", "diagnostics", name)
            if draft.sound(*at):
                what = "gradients are measured on whole weights, and zero_stage 3 parts them"
                yield draft.source.problem(at, what=what, remedy="write 0 here, or a lower zero_stage")


def _places(draft: "StudyDraft") -> "list[tuple[str, ...]]":
    """Where shares stand: that of all, then those of bases."""
    by_base = draft.source.value(("resources", "by_base"))
    names = by_base if isinstance(by_base, dict) else ()
    return [("resources",), *(("resources", "by_base", name) for name in names)]


def _said(draft: "StudyDraft", place: "tuple[str, ...]", name: str) -> int:
    """A number of a share, which is that of all where it is silent."""
    said: int = draft.sound(*place, name) or draft.sound("resources", name) or 1
    return said
