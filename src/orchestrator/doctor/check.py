"""One thing that `sweep doctor` looked at, and how it was found; no check raises, and none says what is not so."""

from enum import StrEnum

from workers.contract.outcome import Record


class Grade(StrEnum):
    """Whether a launch would work: all of it, all with a drawback, or not all of it."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class HealthCheck(Record):
    """What was looked at, what was found and, unless it is well, what to do."""

    name: str
    grade: Grade
    what: str
    remedy: str = ""


def ok(name: str, what: str) -> HealthCheck:
    """Found as it should be."""
    return HealthCheck(name=name, grade=Grade.OK, what=what)


def warn(name: str, what: str, remedy: str) -> HealthCheck:
    """A launch works, and something about it is worth knowing first."""
    return HealthCheck(name=name, grade=Grade.WARN, what=what, remedy=remedy)


def fail(name: str, what: str, remedy: str) -> HealthCheck:
    """A launch, or a part of it, would not work."""
    return HealthCheck(name=name, grade=Grade.FAIL, what=what, remedy=remedy)
