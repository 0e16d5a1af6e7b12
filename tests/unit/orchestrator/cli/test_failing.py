"""How commands end that fail: where they can't write, where nobody reads, and with `--json`."""

import errno
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest
from typing_extensions import Buffer

from orchestrator.cli.failing import EXIT_FAULT, EXIT_READER_GONE, fail
from orchestrator.cli.main import main
from orchestrator.saying.streams import FactStream, LastingStream, fact_stream, write_off
from support.studies.micro_study import write_study
from workers.contract.errors import InputError, LockedError, Problem

Command = Callable[..., int]


def wrapped(file: int | Path, encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(file, "w")), encoding=encoding)


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Command]:
    """Runs a command in this process; what it writes lies in `out` and `err`, unless told otherwise."""
    used: list[TextIO] = []

    def run(*arguments: object, out: io.TextIOWrapper | None = None, err: io.TextIOWrapper | None = None) -> int:
        given = (out or wrapped(tmp_path / "out"), err or wrapped(tmp_path / "err"))
        monkeypatch.setattr(sys, "stdout", given[0])
        monkeypatch.setattr(sys, "stderr", given[1])
        monkeypatch.setattr(sys, "argv", ["sweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        used.extend((*given, sys.stdout, sys.stderr))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        assert isinstance(ended.value.code, int)
        return ended.value.code

    yield run
    for stream in used:
        stream.close()


@pytest.fixture
def full() -> Iterator[io.TextIOWrapper]:
    with wrapped(Path("/dev/full")) as stream:
        yield stream


@pytest.fixture
def without_reader() -> io.TextIOWrapper:
    reader, writer = os.pipe()
    os.close(reader)
    return wrapped(writer)


def test_facts_that_find_no_room_are_an_error_and_not_a_traceback(sweep: Command, tmp_path: Path) -> None:
    study = write_study(tmp_path)
    for command in (("plan", study), ("plan", study, "--json"), ("--help",), ("--version",)):
        assert sweep(*command, out=wrapped(Path("/dev/full"))) == 4
        assert (tmp_path / "err").read_text().startswith("error: standard output: the disk is full")


def test_a_reader_that_went_away_ends_a_command_without_a_word(
    sweep: Command, without_reader: io.TextIOWrapper, tmp_path: Path
) -> None:
    assert sweep("status", write_study(tmp_path), out=without_reader) == EXIT_READER_GONE
    assert (tmp_path / "err").read_text() == ""


def test_an_error_that_nobody_can_hear_keeps_its_exit_code(
    sweep: Command, full: io.TextIOWrapper, tmp_path: Path
) -> None:
    assert sweep("plan", tmp_path / "absent.yaml", err=full) == 2


def test_a_character_that_the_encoding_lacks_is_escaped(sweep: Command, tmp_path: Path) -> None:
    assert sweep("plan", write_study(tmp_path), out=wrapped(tmp_path / "out", "ascii")) == 0
    assert r"free_form \xb7 micro" in (tmp_path / "out").read_text()


@pytest.mark.parametrize(
    "command", [("plan",), ("plan", "absent.yaml", "--nope"), ("base", "check", "absent"), ("status", "loop")]
)
def test_an_error_is_one_object_where_json_was_asked_for(sweep: Command, tmp_path: Path, command: tuple[str]) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    given = [str(tmp_path / "loop") if argument == "loop" else argument for argument in command]
    assert sweep(*given, "--json") == 2
    said = json.loads((tmp_path / "out").read_text())
    assert said["exit_code"] == 2
    assert said["error"] and all(
        problem["where"] and problem["what"] and problem["remedy"] for problem in said["error"]
    )
    assert (tmp_path / "err").read_text() == ""


def test_a_name_that_is_too_long_is_to_be_shortened(sweep: Command, tmp_path: Path) -> None:
    study, long = write_study(tmp_path), "a" * 300
    for command in (("status", long), ("status", study, "--store", long), ("plan", study, "--store", tmp_path / long)):
        assert sweep(*command) == 2
        assert (tmp_path / "err").read_text().endswith("File name too long; choose a shorter name\n")


def test_a_time_limit_of_nothing_is_refused_and_starts_nothing(sweep: Command, tmp_path: Path) -> None:
    """As an unset variable gives it."""
    assert sweep("run", write_study(tmp_path), "--store", tmp_path / "store", "--until", "") == 2
    assert "--until: '' is no time" in (tmp_path / "err").read_text()
    assert not (tmp_path / "store").exists()


def test_a_folder_that_ray_can_not_use_is_refused_before_anything_is_made(
    sweep: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 110)))
    assert sweep("run", write_study(tmp_path), "--store", tmp_path / "store") == 2
    assert "too long for the sockets of Ray" in (tmp_path / "err").read_text()
    assert not (tmp_path / "store").exists()


def test_every_problem_has_its_line_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    error = InputError(Problem("a.b", "is odd", "mend it", 7), Problem("c", "too", "mend it"))
    assert fail(error, as_json=True) == 2
    first, second = json.loads(capsys.readouterr().out)["error"]
    assert first == {"where": "a.b", "what": "is odd", "remedy": "mend it", "line": 7}
    assert second["line"] is None


def test_the_exit_code_is_that_of_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(LockedError("somebody drives"), as_json=False) == 75
    assert capsys.readouterr().err == "error: somebody drives\n"


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize("error", [KeyError("P-0042 smokes"), OSError("P-0042 smokes"), RuntimeError("P-0042 smokes")])
def test_a_fault_is_told_by_its_class_and_place_and_never_by_its_text(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail(raised(error), as_json=False) == EXIT_FAULT
    said = capsys.readouterr().err
    assert type(error).__name__ in said and "test_failing.py:" in said and "fault of the program" in said
    assert "P-0042" not in said and said.count("\n") == 1


class Sip(io.RawIOBase):
    """A file that takes three bytes at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = b""

    def writable(self) -> bool:
        return True

    def write(self, given: Buffer) -> int:
        sip = bytes(given)[:3]
        self.taken += sip
        return len(sip)


class TestStreams:
    def test_an_unbuffered_stream_takes_all_that_is_written(self) -> None:
        sip = Sip()
        unbuffered = io.TextIOWrapper(sip, write_through=True)  # type: ignore[type-var]  # as PYTHONUNBUFFERED has it
        stream = fact_stream(unbuffered, 1, "standard output")
        stream.write("0123456789\n")
        assert sip.taken == b"0123456789\n"

    def test_an_error_of_a_stream_says_which_one(self) -> None:
        with FactStream(io.BufferedWriter(io.FileIO("/dev/full", "w")), "standard output") as stream:
            stream.write("a")
            with pytest.raises(OSError, match="standard output") as error:
                stream.flush()
            assert error.value.errno == errno.ENOSPC
            write_off(stream)

    def test_what_a_launch_prints_may_be_lost_and_is_missed_once(
        self, full: io.TextIOWrapper, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lasting = LastingStream(full)
        for _ in range(3):
            lasting.write("a trial ended\n")
            lasting.flush()
        assert capsys.readouterr().err.count("warning: what this launch prints is lost from here on (No space") == 1
