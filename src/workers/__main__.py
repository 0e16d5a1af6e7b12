"""`python -m workers run ORDER.json` and `prepare ORDER.json …`: one node's work, with neither Ray nor MLflow.

An order is what the driver writes to `store/<study>/plans/<trial_id>.json`. `fetch` brings the Framingham teaching CSV.
The others answer in JSON, problems included, and are asked by `sweep` commands.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from workers.contract.answers.ending import Ending
from workers.contract.answers.questions import QUESTIONS, WorkerQuestion
from workers.contract.errors import InputError, Problem, SweepError
from workers.contract.files import read_regular
from workers.contract.system.modes import follow_store, keep_private
from workers.contract.system.opening import open_store
from workers.contract.system.visible import visible
from workers.contract.trial import WorkOrder
from workers.work.faults import place_of

STANDARD_INPUT = Path("-")
R = TypeVar("R", bound=BaseModel)


def main() -> int:
    """Parse the command line and run it; the exit code is 0, 2 for bad input or 3 for a failed trial."""
    keep_private()
    given = _parser().parse_args()
    try:
        code: int = given.carry_out(given)
        return code
    except SweepError as error:
        sys.stderr.write(f"error: {visible(str(error))}\n")
        return error.exit_code
    except Exception as error:  # noqa: BLE001  # a library's message may quote a row: its class and place must do
        sys.stderr.write(f"error: {type(error).__name__} at {place_of(error)}; this is a fault of the program\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    """Every command with its arguments, and as `carry_out` what it does with them."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str, carry_out: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text)
        added.set_defaults(carry_out=carry_out)
        return added

    run = command("run", "run one trial", lambda given: _run(read_order(given.order)))
    run.add_argument("order", type=Path, metavar="ORDER.json")
    prepare = command("prepare", "make the inputs of trials", lambda given: _prepare(given.orders))
    prepare.add_argument("orders", type=Path, nargs="+", metavar="ORDER.json")
    fetch = command("fetch", "fetch the Framingham teaching CSV", lambda given: _fetch(given.folder))
    fetch.add_argument("folder", type=Path)
    for question in QUESTIONS:
        asking = command(
            question.command, f"{question.text}; JSON", lambda given: _answer(given.question, given.request)
        )
        asking.set_defaults(question=question)
        asking.add_argument("request", type=Path, metavar="ORDER.json", help="- reads standard input")
    return parser


def read_order(path: Path) -> WorkOrder:
    """Parse a work order, and write from now on as its store is kept.

    Raises:
        InputError: It is missing or not an order.
    """
    try:
        order = WorkOrder.model_validate_json(read_regular(path))
    except OSError as error:
        raise InputError(Problem(str(path), f"can't be read ({error.strerror})", "give a file of plans/")) from None
    except ValidationError as error:
        what = f"is not a work order ({error.error_count()} problems)"
        raise InputError(Problem(str(path), what, "plan again")) from None
    follow_store(Path(order.store))
    return order


def read_request(path: Path, kind: type[R]) -> R:
    """Parse what is asked, from a file or standard input; if it is of a store, write from now on as that is kept.

    Raises:
        InputError: It is missing or something else.
    """
    try:
        request = kind.model_validate_json(sys.stdin.read() if path == STANDARD_INPUT else read_regular(path))
    except (OSError, ValidationError) as error:
        what = f"is no {kind.__name__} ({type(error).__name__})"
        raise InputError(Problem(str(path), what, "write it as `sweep` does")) from None
    if store := getattr(request, "store", None):
        follow_store(Path(store))
    return request


def _answer(question: WorkerQuestion[Any, Any], path: Path) -> int:
    """Print the answer to what is asked in a file, or the problems that came of it; 2 where there are any."""
    try:
        answer = resolve_name(question.answered_by)(read_request(path, question.asked))
    except InputError as error:
        answer = question.answer.refusing(error)
    sys.stdout.write(answer.model_dump_json() + "\n")
    return 2 if answer.problems else 0


def _run(order: WorkOrder) -> int:
    from workers.attempt.runner import Runner

    open_store(Path(order.store))
    running = Runner().run(order)
    while True:
        try:
            progress = next(running)
        except StopIteration as stop:
            ending: Ending = stop.value
            sys.stdout.write(ending.model_dump_json(exclude_none=True) + "\n")
            return 3 if ending.state == "failed" else 0
        sys.stderr.write(f"{progress.phase} {progress.done}/{progress.total}\n")


def _prepare(paths: list[Path]) -> int:
    from workers.preparing.prepare import prepare

    orders = [read_order(path) for path in paths]
    for store in {order.store for order in orders}:
        open_store(Path(store))
    prepare(orders)
    return 0


def _fetch(folder: Path) -> int:
    from workers.cohort.fetch import fetch_tables

    sys.stdout.writelines(f"{path}\n" for path in fetch_tables(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
