"""What tests of `sweep doctor` share."""

import os
from collections.abc import Callable, Iterator
from typing import NoReturn

from orchestrator.doctor.check import HealthCheck


def one(checks: Iterator[HealthCheck] | list[HealthCheck], name: str) -> HealthCheck:
    (found,) = [check for check in checks if check.name == name]
    return found


def raising(number: int) -> Callable[..., NoReturn]:
    """A call of the system that fails with this error."""

    def fails(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fails
