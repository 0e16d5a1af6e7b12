"""`python -m workers run ORDER.json` and `prepare ORDER.json …`: one node's work, with neither Ray nor MLflow.

An order is what the driver writes to `store/<study>/plans/<trial_id>.json`. `fetch` brings the Framingham teaching CSV.
The others answer in JSON, problems included, and are asked by `sweep` commands.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from workers.contract.answers.audit import AuditFindings, AuditOrder, SheetOrder, WrittenSheets
from workers.contract.answers.export import Exported, ExportOrder
from workers.contract.answers.findings import Answer, CheckRequest, CohortFindings, Finding, WrittenPredictions
from workers.contract.answers.proof import BaseAnswer, BaseQuestion
from workers.contract.answers.purge import PurgeFindings, PurgeOrder
from workers.contract.answers.readiness import Readiness
from workers.contract.answers.sketches import Sketched, SketchQuestion
from workers.contract.answers.transfer import Transfer, TransferOrder
from workers.contract.answers.verification import VerifyFindings, VerifyOrder
from workers.contract.data_class import DataClass
from workers.contract.errors import InputError, Problem, SweepError
from workers.contract.files import read_regular
from workers.contract.outcome import Ending
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

    def question(name: str, text: str, ask: Callable[[Path], Answer], kind: type[Answer]) -> None:
        asking = command(name, f"{text}; JSON", lambda given: _answer(lambda: ask(given.request), kind))
        metavar = "COHORT.json" if name == "check" else "ORDER.json"
        asking.add_argument("request", type=Path, metavar=metavar, help="- reads standard input")

    run = command("run", "run one trial", lambda given: _run(read_order(given.order)))
    run.add_argument("order", type=Path, metavar="ORDER.json")
    prepare = command("prepare", "make the inputs of trials", lambda given: _prepare(given.orders))
    prepare.add_argument("orders", type=Path, nargs="+", metavar="ORDER.json")
    fetch = command("fetch", "fetch the Framingham teaching CSV", lambda given: _fetch(given.folder))
    fetch.add_argument("folder", type=Path)
    question("check", "look for leaks in a cohort", _check, CohortFindings)
    predictions = command(
        "predictions",
        "write predictions as MEDS-Evaluation reads them; JSON",
        lambda given: _answer(lambda: _predictions(given), WrittenPredictions),
    )
    predictions.add_argument("store", type=Path)
    predictions.add_argument("trial_id")
    predictions.add_argument("out", type=Path, metavar="OUT.parquet")
    predictions.add_argument("--data-class", type=DataClass, choices=list(DataClass), help="of the cohort")
    question("score", "apply a stored adapter to another cohort", _score, Transfer)
    question("export", "copy an adapter out of its store, once it was checked", _export, Exported)
    question("audit", "check rationales against records", _audit, AuditFindings)
    question("sheets", "write annotation sheets", _sheets, WrittenSheets)
    question("prove", "prove that a base can be trained and scored", _prove, BaseAnswer)
    question("sketch", "say what configurations and tokenizers of bases tell", _sketch, Sketched)
    question("verify", "compute scores of committed trials again, or train them again", _verify, VerifyFindings)
    question("purge", "remove participant data from a store, and search what stays", _purge, PurgeFindings)
    command("ready", "say which libraries import and which devices compute; JSON", lambda _: _answer(_ready, Readiness))
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
        raise InputError(
            Problem(str(path), f"is not a work order ({error.error_count()} problems)", "plan again")
        ) from None
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


def _answer(ask: Callable[[], Answer], kind: type[Answer]) -> int:
    """Print what `ask` returns, or the problems that it raises; 2 where there are any."""
    try:
        answer = ask()
    except InputError as error:
        answer = kind.refusing(error)
    sys.stdout.write(answer.model_dump_json() + "\n")
    return 2 if answer.problems else 0


def _check(path: Path) -> CohortFindings:
    from workers.cohort.checks import check_cohort
    from workers.cohort.counts import counts_of
    from workers.cohort.sources import read_cohort

    request = read_request(path, CheckRequest)
    cohort = read_cohort(request.cohort, request.place)
    found = check_cohort(cohort)
    return CohortFindings(
        counts=counts_of(cohort),
        n_features=found.n_features,
        warnings=found.warnings,
        problems=tuple(map(Finding.of, found.problems)),
    )


def _score(path: Path) -> Transfer:
    from workers.requests.transfer import apply_adapter

    return apply_adapter(read_request(path, TransferOrder))


def _export(path: Path) -> Exported:
    from workers.requests.export import export_adapter

    return export_adapter(read_request(path, ExportOrder))


def _audit(path: Path) -> AuditFindings:
    from workers.examples.audit.study import audit_study

    return audit_study(read_request(path, AuditOrder))


def _sheets(path: Path) -> WrittenSheets:
    from workers.examples.audit.sheet import write_sheets

    return write_sheets(read_request(path, SheetOrder))


def _verify(path: Path) -> VerifyFindings:
    from workers.requests.verification import verify

    return verify(read_request(path, VerifyOrder))


def _prove(path: Path) -> BaseAnswer:
    from workers.requests.bases import prove_base

    return prove_base(read_request(path, BaseQuestion))


def _purge(path: Path) -> PurgeFindings:
    from workers.requests.purge import purge

    return purge(read_request(path, PurgeOrder))


def _sketch(path: Path) -> Sketched:
    from workers.requests.bases import sketch_bases

    return sketch_bases(read_request(path, SketchQuestion))


def _ready() -> Readiness:
    from workers.requests.readiness import readiness

    return readiness()


def _predictions(given: argparse.Namespace) -> WrittenPredictions:
    from workers.requests.predictions import write_predictions

    return write_predictions(open_store(given.store), given.trial_id, out=given.out, data_class=given.data_class)


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
    from workers.cohort.fetch import fetch_framingham

    sys.stdout.write(f"{fetch_framingham(folder)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
