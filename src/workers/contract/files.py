"""Files that somebody named: what a name of ours looks like, and how what a path leads to is opened.

A name that a record holds is joined to a path and followed, so records take the types here; what is no such name leads
elsewhere, and nothing of ours wrote it. A pipe would keep a reader waiting, and a device never ends.
"""

import errno
import os
import re
import stat
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

NOT_REGULAR = "it is no regular file"
# The type of the error of a record that holds something else where a name belongs.
NO_NAME = "no_name"
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
ID = re.compile(r"[0-9a-f]{16}")
# Host and process of the writer: what a killed one left can be told from what is being written.
TEMPORARY = re.compile(r"\.tmp-(.+)-(\d+)-[^-]+")
# The folder of one launch in Ray Tune's scratch.
LAUNCH = re.compile(r"launch-\d{8}T\d{6}-.+-\d+")
RESUME_POINT = re.compile(r"step-(\d+)")
# What else lies among resume points: one that was passed over, and one half written, by an older version too.
NO_RESUME_POINT = re.compile(r"\.skipped-\w{8}|\.tmp-(.+-)?\w{8}")


def _plain(text: str) -> str:
    if not PLAIN.fullmatch(text):
        raise PydanticCustomError(NO_NAME, "is no name of ours")
    return text


def _below(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or str(path) != text or not text.isprintable() or text == ".":
        raise PydanticCustomError(NO_NAME, "is no file below a folder of ours")
    return text


# One part of a path.
Name = Annotated[str, AfterValidator(_plain)]
# The path of a file below a folder.
FileName = Annotated[str, AfterValidator(_below)]


def open_regular(path: Path, *, at_most: int | None = None) -> BufferedReader:
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
