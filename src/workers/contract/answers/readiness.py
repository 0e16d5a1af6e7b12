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


class Readiness(Answer):
    """What a worker could load and use.

    imported: Version by name of the libraries that import.
    broken: Class of the error by name of those that don't.
    """

    imported: dict[str, str] = Field(default={})
    broken: dict[str, str] = Field(default={})
    gpus: tuple[Gpu, ...] = ()
    n_threads: int = 0
