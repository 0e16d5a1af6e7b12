"""Standard streams that are closed, full, gone, or speak another encoding: what is written to them, and what then.

A command's facts must arrive, so their loss is an error; what a launch tells along the way may be lost, the launch not.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, BinaryIO, TextIO, cast

STANDARD_OUTPUT = "standard output"


def open_streams() -> None:
    """See that all three are there, and that any text can be written: escaped where the encoding lacks a character."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, before a file of the store does
    sys.stdout = fact_stream(sys.stdout, 1, STANDARD_OUTPUT)
    sys.stderr = fact_stream(sys.stderr, 2, "standard error")


def fact_stream(stream: TextIO | None, number: int, where: str) -> "FactStream":
    """A standard stream, or in its absence the file of its number, as one whose errors say where they come from."""
    if stream is None:
        return FactStream(os.fdopen(number, "wb"), where)
    binary, by_line = stream.buffer, bool(stream.line_buffering)
    if isinstance(binary, io.RawIOBase):  # under PYTHONUNBUFFERED, and it may take a part of what is written
        binary, by_line = io.BufferedWriter(binary), True
    return FactStream(binary, where, encoding=stream.encoding, line_buffering=by_line)


class FactStream(io.TextIOWrapper):
    """A stream whose errors say where they come from, as those of a file do, and whose encoding lacks nothing."""

    def __init__(
        self, binary: BinaryIO, where: str, *, encoding: str | None = None, line_buffering: bool = False
    ) -> None:
        super().__init__(binary, encoding=encoding, errors="backslashreplace", line_buffering=line_buffering)
        self._where = where

    def write(self, text: str) -> int:
        """Write; raises OSError with the stream's name."""
        with self._named():
            return super().write(text)

    def flush(self) -> None:
        """Flush; raises OSError with the stream's name."""
        with self._named():
            super().flush()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = self._where
            raise


def write_off(stream: IO[str]) -> None:
    """Let what it still holds, and all that follows, go nowhere: else the interpreter fails on it as it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
    with suppress(OSError):
        stream.flush()


def say(text: str) -> None:
    """Write to standard error, whether or not anybody is there."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        write_off(sys.stderr)


def lasting(stream: IO[str]) -> IO[str]:
    """The stream for what a launch tells along the way, which may be lost, and the launch not."""
    return cast(IO[str], LastingStream(cast(TextIO, stream)))


class LastingStream(io.TextIOBase):
    """Where a launch tells how it goes on: when that takes no more, the launch goes on without it, and says so once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute of the type, and of no stream
        """That of the stream behind it."""
        return self._stream.encoding

    def fileno(self) -> int:
        """That of the stream behind it."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether people watch it, as far as they still can."""
        return self._stream.isatty()

    def write(self, text: str) -> int:
        """Write, or drop the text."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop what waits."""
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        write_off(self._stream)
        if self._stream is not sys.stderr:
            say(f"warning: what this launch prints is lost from here on ({error.strerror}); it goes on without")
