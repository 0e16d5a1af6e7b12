"""Asks a worker something that the driver may not do itself, in a process of its own; the answer is typed JSON.

The driver never imports a worker's rooms, nor reads a participant's row.
"""

import subprocess
import sys
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from workers.contract.answers.audit import AuditFindings, AuditOrder, SheetOrder, WrittenSheets
from workers.contract.answers.export import Exported, ExportOrder
from workers.contract.answers.findings import Answer, CheckRequest, CohortFindings, WrittenPredictions
from workers.contract.answers.proof import BaseAnswer, BaseQuestion
from workers.contract.answers.purge import PurgeFindings, PurgeOrder
from workers.contract.answers.readiness import Readiness
from workers.contract.answers.sketches import Sketched, SketchQuestion
from workers.contract.answers.transfer import Transfer, TransferOrder
from workers.contract.answers.verification import VerifyFindings, VerifyOrder
from workers.contract.data_class import DataClass
from workers.contract.errors import InputError, SweepError
from workers.contract.layout import StoreLayout

A = TypeVar("A", bound=Answer)


def check_cohort(request: CheckRequest) -> CohortFindings:
    """What the checks of a cohort find; problems are in the answer, not raised.

    Raises:
        SweepError: The worker could not answer.
    """
    return _ask(CohortFindings, "check", "-", asked=request.model_dump_json())


def write_predictions(
    layout: StoreLayout, trial_id: str, *, out: Path, data_class: DataClass | None = None
) -> WrittenPredictions:
    """Have a trial's predictions written as MEDS-Evaluation reads them.

    Args:
        data_class: Of the cohort, where its study says it.

    Raises:
        InputError: The trial or the place won't do.
        SweepError: The worker could not answer.
    """
    said = ("--data-class", data_class.value) if data_class else ()
    answer = _ask(WrittenPredictions, "predictions", str(layout.root), trial_id, str(out), *said)
    if answer.problems:
        raise InputError(*(finding.problem for finding in answer.problems))
    return answer


def apply_adapter(order: TransferOrder) -> Transfer:
    """Have a stored adapter scored on another cohort.

    Raises:
        InputError: There is no such adapter, or the cohort's data won't do.
        SweepError: The worker could not answer.
    """
    answer = _ask(Transfer, "score", "-", asked=order.model_dump_json())
    if answer.problems:
        raise InputError(*(finding.problem for finding in answer.problems))
    return answer


def export_adapter(order: ExportOrder) -> Exported:
    """Have an adapter checked and copied out of its store.

    Raises:
        InputError: There is no such adapter, the place won't do, or it tells too much.
        SweepError: The worker could not answer.
    """
    answer = _ask(Exported, "export", "-", asked=order.model_dump_json())
    if answer.problems:
        raise InputError(*(finding.problem for finding in answer.problems))
    return answer


def audit_rationales(order: AuditOrder) -> AuditFindings:
    """Have all rationales of a study checked against the records.

    Raises:
        SweepError: They are not prepared, or the worker could not answer.
    """
    return _ask(AuditFindings, "audit", "-", asked=order.model_dump_json())


def write_sheets(order: SheetOrder) -> WrittenSheets:
    """Have annotation sheets written.

    Raises:
        InputError: The folder is no fit place, or there is too little to rate.
        SweepError: The rationales are not prepared, or the worker could not answer.
    """
    answer = _ask(WrittenSheets, "sheets", "-", asked=order.model_dump_json())
    if answer.problems:
        raise InputError(*(finding.problem for finding in answer.problems))
    return answer


def verify_trials(order: VerifyOrder) -> VerifyFindings:
    """Have scores computed again from predictions, and trials trained again.

    Raises:
        SweepError: The worker could not answer.
    """
    return _ask(VerifyFindings, "verify", "-", asked=order.model_dump_json())


def prove_base(question: BaseQuestion) -> BaseAnswer:
    """Have a base prove itself; problems are in the answer, not raised.

    Raises:
        SweepError: The worker could not answer.
    """
    return _ask(BaseAnswer, "prove", "-", asked=question.model_dump_json())


def purge_data(order: PurgeOrder) -> PurgeFindings:
    """Have participant data removed from a store, and what stays searched for them.

    Raises:
        SweepError: Something could not be removed, or the worker could not answer.
    """
    return _ask(PurgeFindings, "purge", "-", asked=order.model_dump_json())


def sketch_bases(question: SketchQuestion) -> Sketched:
    """Have configurations and tokenizers of bases read; problems are in the answer, not raised.

    Raises:
        SweepError: The worker could not answer.
    """
    return _ask(Sketched, "sketch", "-", asked=question.model_dump_json())


def ask_readiness() -> Readiness:
    """Have a worker try its libraries and devices.

    Raises:
        SweepError: The worker could not answer.
    """
    return _ask(Readiness, "ready")


def run_worker(*arguments: str, asked: str) -> "subprocess.CompletedProcess[str]":
    """A worker's answer to what it reads from standard input."""
    # -P: a folder `workers` where somebody stands is not ours.
    command = [sys.executable, "-P", "-m", "workers", *arguments]
    return subprocess.run(command, input=asked, capture_output=True, text=True, check=False)


def _ask(kind: type[A], *arguments: str, asked: str = "") -> A:
    done = run_worker(*arguments, asked=asked)
    try:
        return kind.model_validate_json(done.stdout)
    except ValidationError:
        said = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
        why = "\n".join(said) or f"the worker ended with code {done.returncode} and no answer; this is a fault"
        raise SweepError(why) from None
