"""What tests of `sweep doctor` share."""

import os
from collections.abc import Callable, Iterator
from typing import NoReturn

from orchestrator.doctor.check import Check


def one(checks: Iterator[Check] | list[Check], name: str) -> Check:
    (found,) = [check for check in checks if check.name == name]
    return found


def raising(number: int) -> Callable[..., NoReturn]:
    """A call of the system that fails with this error."""

    def fails(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fails
