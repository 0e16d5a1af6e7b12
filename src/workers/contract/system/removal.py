"""Taking something out of a store: the one place where a folder is removed, and never through a link."""

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path


def remove(path: Path, *, within: Path, ignores_errors: bool = False) -> None:
    """Take away a file, a link or a folder with all that is in it.

    Every folder on the way down from `within` is opened by a handle that refuses a link, and `shutil.rmtree` goes on
    likewise, so that a link which somebody puts there at this very moment leads nowhere.

    Args:
        ignores_errors: Go on with the rest of a folder where something in it can't be removed.

    Raises:
        OSError: It is not there, can't be removed, or a link is on the way; some of it may be gone.
    """
    *above, name = path.relative_to(within).parts
    if ".." in (*above, name):
        raise NotADirectoryError(f"{path} is not within {within}")
    folder = os.open(within, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in above:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            shutil.rmtree(name, dir_fd=folder, ignore_errors=ignores_errors)  # noqa: TID251
        else:
            os.unlink(name, dir_fd=folder)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(folder)


def try_to_remove(path: Path, *, within: Path) -> None:
    """The same where nothing depends on it: what can't be removed now is left to the next launch."""
    with suppress(OSError):
        remove(path, within=within, ignores_errors=True)
