"""Asks a worker something that the driver may not do itself, in a process of its own; the answer is typed JSON.

The driver never imports a worker's rooms, nor reads a participant's row.
"""

import subprocess
import sys

from pydantic import ValidationError

from workers.contract.answers.questions import Answered, Asked, WorkerQuestion
from workers.contract.errors import InputError, SweepError


def ask(question: WorkerQuestion[Asked, Answered], asked: Asked) -> Answered:
    """Have a worker answer.

    Raises:
        InputError: What is asked for won't do, unless such problems are told in the answer.
        SweepError: The worker could not answer.
    """
    done = run_worker(question.command, "-", asked=asked.model_dump_json())
    try:
        answer = question.answer.model_validate_json(done.stdout)
    except ValidationError:
        said = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
        why = "\n".join(said) or f"the worker ended with code {done.returncode} and no answer; this is a fault"
        raise SweepError(why) from None
    if answer.problems and not question.problems_are_told:
        raise InputError(*answer.problems)
    return answer


def run_worker(*arguments: str, asked: str) -> "subprocess.CompletedProcess[str]":
    """A worker's answer to what it reads from standard input."""
    # -P: a folder `workers` where somebody stands is not ours.
    command = [sys.executable, "-P", "-m", "workers", *arguments]
    return subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
