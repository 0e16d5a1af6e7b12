"""The `sweep` command: parses, composes, prints."""

import sys
from importlib.util import find_spec
from pathlib import Path


def _refuse_another_workers() -> None:
    """End where somebody's `workers` stands before ours on Python's path: the first import of it could not say so."""
    found = find_spec("workers")
    places = [str(place) for place in (found.submodule_search_locations or (found.origin,))] if found else []
    if places != [str(Path(__file__).parents[2] / "workers")]:
        what = f"{', '.join(places) or 'nothing'} is found for our own package `workers`"
        sys.stderr.write(f"error: {what}; rename it, run elsewhere, or mend PYTHONPATH\n")
        sys.exit(2)


_refuse_another_workers()
