"""The log of an attempt: dated lines, a step at most every 30 s, and no harm where it can't be written."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from workers.contract.outcome import Progress
from workers.work.trial_log import STANDARD_ERROR, TrialLog

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "trial" / "attempt.log"


@pytest.fixture
def log(path: Path, clock: Clock) -> Iterator[TrialLog]:
    log = TrialLog(path, clock=clock, now=lambda: NOON)
    yield log
    log.close()


def test_a_line_is_dated_in_utc_and_there_at_once(log: TrialLog, path: Path) -> None:
    log.say("loading")
    assert path.read_text() == "2026-01-05T12:00:00+00:00 loading\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_step_is_written_at_most_every_thirty_seconds(log: TrialLog, path: Path, clock: Clock) -> None:
    for step in range(1, 101):
        clock.now_s += 1
        log.progress(Progress(phase="training", done=step, total=100, loss=0.5))
    steps = [line.split()[2] for line in path.read_text().splitlines()]
    assert steps == ["30", "60", "90"]


def test_how_a_block_ended_is_said_without_the_librarys_words(log: TrialLog, path: Path) -> None:
    with pytest.raises(ValueError, match="MRN-4711"), log.ending(store=path.parents[2]):
        raise ValueError("MRN-4711 is no number")
    text = path.read_text()
    assert "end: failed, code; ValueError at " in text
    assert "MRN" not in text
    with pytest.raises(KeyboardInterrupt), log.ending(store=path.parents[2]):
        raise KeyboardInterrupt
    assert path.read_text().endswith("end: stopped from outside (KeyboardInterrupt)\n")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs a device that is always full")
def test_a_full_disk_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "attempt.log").symlink_to("/dev/full")
    log = TrialLog(tmp_path / "attempt.log")
    log.say("lost")
    log.close()


def test_where_no_file_can_be_made_standard_error_stands_in(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    log = TrialLog(tmp_path / "logs" / "attempt.log")
    log.say("lost")
    log.close()
    assert log.fileno() == STANDARD_ERROR
