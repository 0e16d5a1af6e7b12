"""Axis values that carry a number, written `name@number` in a study file, and the recipes that they stand for."""

from typing import Annotated

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from workers.contract.recipes.teaching import TargetRecipe
from workers.contract.trial import AxisValue, BudgetRecipe, ObjectiveRecipe


def _as_one_problem(value: object, judge: ValidatorFunctionWrapHandler) -> object:
    """One problem for a value that is neither text nor a number, not one for each kind it could have been."""
    try:
        return judge(value)
    except ValidationError:
        raise PydanticCustomError("level", "is not a value of an axis") from None


LevelValue = Annotated[AxisValue, WrapValidator(_as_one_problem), Field(description="a value of the axis")]

ObjectiveValue = Annotated[
    str,
    Field(
        pattern=r"^(token_mean|two_view_mix|(span_balanced|two_view_align|multi_task)@(0(\.\d+)?|1(\.0+)?))$",
        description="token_mean, two_view_mix, or span_balanced@W, two_view_align@W, multi_task@W with W in [0, 1]",
    ),
]
RationaleValue = Annotated[
    str,
    Field(
        pattern=r"^(real|shuffled|filler|truncated@\d{1,4})$", description="real, shuffled, filler or truncated@TOKENS"
    ),
]
BudgetValue = Annotated[
    str,
    Field(
        pattern=r"^(steps|(examples|label_tokens|target_tokens)@[1-9]\d*)$",
        description="steps, or examples@N, label_tokens@N, target_tokens@N",
    ),
]
# What a trial has on an axis that its block of the study does not vary.
USUAL = {"objective": "token_mean", "ordering": "rationale_first", "rationale": "real", "budget": "steps"}


def objective_of(value: str) -> ObjectiveRecipe:
    """`span_balanced@0.9` as a recipe."""
    kind, _, weight = value.partition("@")
    return ObjectiveRecipe.model_validate({"kind": kind} | ({"weight": float(weight)} if weight else {}))


def target_of(ordering: str, rationale: str) -> TargetRecipe:
    """`label_first` and `truncated@16` as a recipe."""
    kind, _, keep = rationale.partition("@")
    fields: dict[str, object] = {"ordering": ordering, "rationale": kind}
    return TargetRecipe.model_validate(fields | ({"keep_tokens": int(keep)} if keep else {}))


def budget_of(value: str) -> BudgetRecipe:
    """`label_tokens@4800` as a recipe."""
    match, _, amount = value.partition("@")
    return BudgetRecipe.model_validate({"match": match} | ({"amount": int(amount)} if amount else {}))
