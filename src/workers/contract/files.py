"""How a file that somebody pointed at is opened: a regular one, or an `OSError` that says why not, at once.

A pipe would keep a reader waiting, a device never ends, and a name may hold what no name can.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

NOT_REGULAR = "it is no regular file"


def open_regular(path: Path, *, at_most: int | None = None) -> BinaryIO:
    """Open a regular file for reading, through links.

    Args:
        at_most: Bytes that it may hold; null for any number.

    Raises:
        OSError: There is none, it is something else, or it is larger; `strerror` says which.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except ValueError:
        raise OSError(errno.EINVAL, "its name holds a NUL") from None
    try:
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
        if at_most is not None and found.st_size > at_most:
            raise OSError(errno.EFBIG, f"it holds more than {at_most:,} bytes", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: Path, *, at_most: int | None = None) -> bytes:
    """What a regular file holds.

    Raises:
        OSError: As `open_regular`, or it can't be read.
    """
    with open_regular(path, at_most=at_most) as file:
        return file.read() if at_most is None else file.read(at_most)


def true_path(path: Path) -> Path:
    """The absolute path without links; what leads in a circle, or can be no name, stays as it is written."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:
        return path.absolute()
