"""What file systems do to those who use them: full, out of reach, or answering twice; and the modes in one."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def files_of_at_most(n_bytes: int) -> Iterator[None]:
    """The kernel refuses to write more into any file: what a full disk looks like to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def out_of_reach(path: Path) -> Iterator[None]:
    """While the block runs the system can't read what lies there, whoever asks: it is a link that leads to itself."""
    kept = path.rename(path.with_name(f"{path.name}-kept")) if path.exists() else None
    path.symlink_to(path)
    try:
        yield
    finally:
        path.unlink()
        if kept is not None:
            kept.rename(path)


def made_though_answered(error: OSError) -> Callable[..., None]:
    """Stands for `os.link` on a network file system: makes the link where the name is free, and raises in any case."""
    link = os.link

    def ask_twice(source: str, target: Path) -> None:
        try:
            link(source, target)
        except FileExistsError as taken:
            raise taken from None
        raise error

    return ask_twice


def modes_below(root: Path) -> set[tuple[str, str]]:
    """Every mode of a folder and all in it, those of folders and of files told apart."""
    paths = [root, *root.rglob("*")]
    return {("folder" if path.is_dir() else "file", f"{path.stat().st_mode & 0o7777:o}") for path in paths}
