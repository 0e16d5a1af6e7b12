"""A link on a network file system: made on the server, and answered with an error all the same."""

import os
from collections.abc import Callable
from pathlib import Path


def made_though_answered(error: OSError) -> Callable[..., None]:
    """Stands for `os.link`: makes the link where the name is free, and raises the error in any case."""
    link = os.link

    def ask_twice(source: str, target: Path) -> None:
        try:
            link(source, target)
        except FileExistsError as taken:
            raise taken from None
        raise error

    return ask_twice
