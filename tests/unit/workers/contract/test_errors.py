"""The drawn tree of errors against the classes."""

import importlib
import pkgutil
import re

from workers.contract import errors
from workers.contract.errors import SweepError

LINE = re.compile(r"^    (?P<indent>[│├└─ ]*)(?P<name>\w+)(?: +exit (?P<code>\d+))?(?: .*)?$")
PACKAGES = ("orchestrator", "workers")
WIDTH = 4  # of one level of the drawing


def drawn() -> dict[str, tuple[str, int | None]]:
    """Class → its parent and exit code, as the module's docstring draws them."""
    found: dict[str, tuple[str, int | None]] = {}
    above: list[str] = []
    tree = (errors.__doc__ or "").split("\n\n")[1]
    for line in tree.splitlines():
        match = LINE.match(line)
        assert match, line
        above[len(match["indent"]) // WIDTH :] = [match["name"]]
        found[match["name"]] = ("".join(above[-2:-1]), int(match["code"]) if match["code"] else None)
    return found


def declared(error: type[SweepError]) -> dict[str, tuple[str, int | None]]:
    """The same of the classes below one; those that tests define are no part of it."""
    found: dict[str, tuple[str, int | None]] = {}
    for child in error.__subclasses__():
        if child.__module__.split(".")[0] in PACKAGES:
            found |= {child.__name__: (error.__name__, child.exit_code)} | declared(child)
    return found


def test_the_drawn_tree_is_that_of_the_classes_with_their_exit_codes() -> None:
    for package in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    assert drawn() == {"SweepError": ("", None)} | declared(SweepError)
