"""The driver's side: study, grid, plan, driver, tracking, store, analysis, report. Never imports torch.

`orchestrator.open_store(path)` reads a store from Python.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.explain.frames import open_store as open_store

__all__ = ["open_store"]


def __getattr__(name: str) -> object:
    """Load what reads a store once somebody asks for it: a command has no use for it."""
    if name != "open_store":
        raise AttributeError(name)
    from orchestrator.explain.frames import open_store

    return open_store
