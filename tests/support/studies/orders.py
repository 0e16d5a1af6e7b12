"""Work orders on the micro base and the real cohort: seconds a trial, every part of a worker for real."""

from pathlib import Path
from typing import Any

from support.places import FRAMINGHAM
from workers.cohort.fetch import TABLES
from workers.contract.recipes.bases import BuiltinBase
from workers.contract.recipes.cohorts import FraminghamCohort
from workers.contract.recipes.teaching import PromptRecipe, Supervision, TemplateTeacherRecipe
from workers.contract.trial import (
    COMPUTE_VERSION,
    EvaluationRecipe,
    Method,
    TrainingRecipe,
    Trial,
    TrialSpec,
    WorkOrder,
)

COHORT = FraminghamCohort(source="framingham", sha256=TABLES["framingham.csv"])
EVALUATION = EvaluationRecipe(controls_per_case=1.0, max_new_tokens=56)


def micro_training(**changes: Any) -> TrainingRecipe:  # noqa: ANN401  # fields of the recipe
    """Six steps of eight examples."""
    return TrainingRecipe(**{"learning_rate": 3e-3, "seed": 11, "steps": 6, "batch_size": 8, **changes})


def micro_spec(supervision: Supervision = Supervision.LABEL_ONLY, **changes: Any) -> TrialSpec:  # noqa: ANN401
    """A LoRA trial on the micro base; `changes` replace fields of the spec."""
    fields: dict[str, Any] = {
        "cohort": COHORT,
        "evaluation": EVALUATION,
        "compute_version": COMPUTE_VERSION,
        "method": Method.LORA,
        "train_size": 32,
        "prompt": PromptRecipe(),
        "supervision": supervision,
        "teacher": None if supervision is Supervision.LABEL_ONLY else TemplateTeacherRecipe(),
        "base": BuiltinBase(kind="builtin", recipe="micro_llama"),
        "training": micro_training(),
    }
    return TrialSpec(**(fields | changes))


def comparator_spec(method: Method, **changes: Any) -> TrialSpec:  # noqa: ANN401
    """A trial without an adapter."""
    needs_base = method is Method.ZERO_SHOT
    keep = {"prompt", "base"} if needs_base else set()
    dropped = {"train_size", "prompt", "supervision", "teacher", "base", "training"} - keep
    return micro_spec(**{"method": method, **dict.fromkeys(dropped), **changes})


def order_of(spec: TrialSpec, store: Path, *, source: Path = FRAMINGHAM) -> WorkOrder:
    """An order for one trial in one store; `source` is the table that the spec's digest names."""
    coordinates = {"supervision": str(spec.supervision), "seed": spec.training.seed if spec.training else 0}
    return WorkOrder(
        trial=Trial(spec=spec, coordinates=coordinates),
        store=str(store),
        sources={spec.cohort.source_digest or TABLES["framingham.csv"]: str(source)},
    )
