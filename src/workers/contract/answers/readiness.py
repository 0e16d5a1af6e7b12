"""What a worker says about the machine that it runs on: libraries that import, devices that compute."""

from pydantic import Field

from workers.contract.answers.findings import Answer
from workers.contract.outcome import Record


class ReadinessRequest(Record):
    """Nothing needs to be said."""


class Gpu(Record):
    """A GPU as torch sees it; without an error it has computed something."""

    name: str
    total_gib: float
    free_gib: float
    error: str = ""


class GpuLoad(Record):
    """What a trial alone took of a whole GPU.

    peak_bytes: Of the GPU's memory in use at most.
    room_bytes: What tensors of all workers on it may take together.
    busy_s: Seconds in which it computed, of the `wall_s` that the trial's work took; 0 where the GPU does not say.
    n_cpus: CPUs of its node for each of the node's GPUs.
    fits: Whether the memory sufficed, with batches in however many parts.
    """

    peak_bytes: int
    room_bytes: int
    busy_s: float = 0.0
    wall_s: float = 0.0
    n_cpus: float = 1.0
    fits: bool = True


class Readiness(Answer):
    """What a worker could load and use.

    imported: Version by name of the libraries that import.
    broken: Class of the error by name of those that don't.
    """

    imported: dict[str, str] = Field(default={})
    broken: dict[str, str] = Field(default={})
    gpus: tuple[Gpu, ...] = ()
    n_threads: int = 0
