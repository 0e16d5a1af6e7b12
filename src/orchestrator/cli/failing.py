"""How a command ends that could not do what it was asked: its exit code, and one message a problem.

With `--json`, standard output holds one object in place of the facts: {"error": [...], "exit_code": n}.
"""

import errno
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from typer.exceptions import TyperException

from orchestrator.saying.streams import STANDARD_OUTPUT, say, write_off
from workers.contract.errors import NO_ROOM, DiskFullError, InputError, Problem, SweepError, place_of
from workers.contract.system.visible import visible_line

EXIT_FAULT, EXIT_BAD_INPUT = 1, SweepError.exit_code
# As the shell says of any program that is ended by a pipe with no reader.
EXIT_READER_GONE = 128 + signal.SIGPIPE
PACKAGE = Path(__file__).parents[1]
FAULT = "this is a fault of the program: run again, and report this line if it comes back"


def fail(error: BaseException, *, as_json: bool) -> int:
    """Say what happened, and return the exit code; a reader that went away is told nothing."""
    is_reader_gone = isinstance(error, BrokenPipeError | SystemExit)  # rich turns the former into the latter
    is_unheard = is_reader_gone or getattr(error, "filename", None) == STANDARD_OUTPUT
    if is_unheard:
        write_off(sys.stdout)
    if is_reader_gone:
        return EXIT_READER_GONE
    problems, code = problems_of(error)
    if as_json and not is_unheard:
        facts = [{key: value or None for key, value in asdict(problem).items()} for problem in problems]
        sys.stdout.write(json.dumps({"error": facts, "exit_code": code}, indent=1) + "\n")
        sys.stdout.flush()
    else:
        texts = (str(problem) if problem.where else problem.what for problem in problems)
        say("\n".join(f"error: {visible_line(text)}" for text in texts))
    return code


def problems_of(error: BaseException) -> tuple[tuple[Problem, ...], int]:
    """What is wrong, and the exit code."""
    match error:
        case InputError():
            return error.problems, error.exit_code
        case SweepError():
            return tuple(Problem("", line, "") for line in str(error).splitlines()), error.exit_code
        case OSError() if error.filename:
            return _system_problem(error)
        case TyperException():
            return (_usage_problem(error),), EXIT_BAD_INPUT
    # Its message may quote a row: its class and place must do.
    return (Problem(place_of(error, within=PACKAGE), type(error).__name__, FAULT),), EXIT_FAULT


def _system_problem(error: OSError) -> tuple[tuple[Problem, ...], int]:
    where = str(error.filename)
    if error.errno in NO_ROOM:
        remedy = "nothing committed is lost: free space and run again"
        return (Problem(where, "the disk is full", remedy),), DiskFullError.exit_code
    what = error.strerror or type(error).__name__
    remedy = "choose a shorter name" if error.errno == errno.ENAMETOOLONG else "mend its owner, mode or disk"
    return (Problem(where, what, remedy),), EXIT_BAD_INPUT


def _usage_problem(error: TyperException) -> Problem:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "sweep"
    what = error.format_message().rstrip(".")
    return Problem(command, what, f"`{command} --help` shows what it takes")
