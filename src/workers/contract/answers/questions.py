"""Everything that a worker is asked outside a launch, in one table: `python -m workers COMMAND ORDER.json`."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from workers.contract.answers.audit import AuditFindings, AuditOrder, SheetOrder, WrittenSheets
from workers.contract.answers.export import Exported, ExportOrder
from workers.contract.answers.findings import (
    Answer,
    CheckRequest,
    CohortFindings,
    DraftQuestion,
    PredictionsOrder,
    TableSketch,
    WrittenPredictions,
)
from workers.contract.answers.proof import BaseAnswer, BaseQuestion
from workers.contract.answers.purge import PurgeFindings, PurgeOrder
from workers.contract.answers.readiness import Readiness, ReadinessRequest
from workers.contract.answers.sketches import Sketched, SketchQuestion
from workers.contract.answers.transfer import Transfer, TransferOrder
from workers.contract.answers.verification import VerifyFindings, VerifyOrder

Asked = TypeVar("Asked", bound=BaseModel)
Answered = TypeVar("Answered", bound=Answer)


@dataclass(frozen=True)
class WorkerQuestion(Generic[Asked, Answered]):
    """One thing that a worker is asked.

    asked, answer: What goes in and comes out, as JSON.
    answered_by: From the one to the other; `module:function`, as no driver loads.
    problems_are_told: Whoever asks wants them with the answer; else they are raised.
    """

    command: str
    text: str
    asked: type[Asked]
    answer: type[Answered]
    answered_by: str
    problems_are_told: bool = False


CHECK_COHORT = WorkerQuestion(
    "check", "look for leaks in a cohort", CheckRequest, CohortFindings, "workers.requests.cohorts:examine",
    problems_are_told=True,
)  # fmt: skip
LOOK_AT_TABLE = WorkerQuestion(
    "look", "say what the columns of a table seem to be", DraftQuestion, TableSketch,
    "workers.cohort.tables.sketch:look",
)  # fmt: skip
WRITE_PREDICTIONS = WorkerQuestion(
    "predictions", "write predictions as MEDS-Evaluation reads them", PredictionsOrder, WrittenPredictions,
    "workers.requests.predictions:write_predictions",
)  # fmt: skip
APPLY_ADAPTER = WorkerQuestion(
    "score", "apply a stored adapter to another cohort", TransferOrder, Transfer,
    "workers.requests.transfer:apply_adapter",
)  # fmt: skip
EXPORT_ADAPTER = WorkerQuestion(
    "export", "copy an adapter out of its store, once it was checked", ExportOrder, Exported,
    "workers.requests.export:export_adapter",
)  # fmt: skip
AUDIT_RATIONALES = WorkerQuestion(
    "audit", "check rationales against records", AuditOrder, AuditFindings,
    "workers.examples.audit.study:audit_study",
)  # fmt: skip
WRITE_SHEETS = WorkerQuestion(
    "sheets", "write annotation sheets", SheetOrder, WrittenSheets, "workers.examples.audit.sheet:write_sheets"
)
PROVE_BASE = WorkerQuestion(
    "prove", "prove that a base can be trained and scored", BaseQuestion, BaseAnswer,
    "workers.requests.bases:prove_base", problems_are_told=True,
)  # fmt: skip
SKETCH_BASES = WorkerQuestion(
    "sketch", "say what configurations and tokenizers of bases tell", SketchQuestion, Sketched,
    "workers.requests.bases:sketch_bases", problems_are_told=True,
)  # fmt: skip
VERIFY_TRIALS = WorkerQuestion(
    "verify", "compute scores of committed trials again, or train them again", VerifyOrder, VerifyFindings,
    "workers.requests.verification:verify",
)  # fmt: skip
PURGE_DATA = WorkerQuestion(
    "purge", "remove participant data from a store, and search what stays", PurgeOrder, PurgeFindings,
    "workers.requests.purge:purge",
)  # fmt: skip
READINESS = WorkerQuestion(
    "ready", "say which libraries import and which devices compute", ReadinessRequest, Readiness,
    "workers.requests.readiness:readiness",
)  # fmt: skip
QUESTIONS: tuple[WorkerQuestion[Any, Any], ...] = (
    CHECK_COHORT, LOOK_AT_TABLE, WRITE_PREDICTIONS, APPLY_ADAPTER, EXPORT_ADAPTER, AUDIT_RATIONALES, WRITE_SHEETS,
    PROVE_BASE, SKETCH_BASES, VERIFY_TRIALS, PURGE_DATA, READINESS,
)  # fmt: skip
