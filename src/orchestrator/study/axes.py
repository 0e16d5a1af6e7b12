"""What an axis of a study is, in one table: the fields of the two kinds of blocks, each with its `Axis`.

Study files, expansion, controls, names, pairing, columns of the dataset, report and rules follow from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

from pydantic import Field

from workers.contract.recipes.recipe import Frozen, Recipe
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import AxisValue, BudgetRecipe, LoraRecipe, ObjectiveRecipe

if TYPE_CHECKING:
    from orchestrator.study.study import Study

Fields = Mapping[str, object]

OneOrMore = Field(min_length=1)
EvenNumber = Annotated[int, Field(ge=2, multiple_of=2, description="even: half of them cases")]
Rate = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
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


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One factor of a design.

    sets: Fields of a `TrialSpec` that it determines, those of a part by dotted names; trials that agree in all others
        may be paired on it.
    means: What a value writes to its only field, which without it is itself; by their names what to several.
    usual: Its value in a block that does not vary it while another does; null where every block must.
    usual_at: Where a study may say another usual one.
    absent_at: Another axis, and the value of it at which this one has none, since nothing holds what it sets.
    spelled: How the name of a trial writes a value.
    pace: An axis of a higher pace varies faster in the design; of one pace, the later field of the block.
    is_averaged: Whether an arm of the report is a mean over its values.
    name, kind: Of its field, which are those of its column as well: `int`, `float` or `str`.
    """

    sets: tuple[str, ...]
    means: "Callable[[Any, Study], object] | None" = None
    usual: AxisValue | None = None
    usual_at: str = ""
    absent_at: tuple[str, str] = ("", "")
    spelled: str = "{}"
    pace: int = 0
    is_averaged: bool = False
    name: str = ""
    kind: type[AxisValue] = str

    def usual_in(self, study: "Study") -> AxisValue:
        """The value in a block that does not vary it."""
        return cast("AxisValue", attrgetter(self.usual_at)(study) if self.usual_at else self.usual)

    def fields_of(self, value: AxisValue, study: "Study") -> Fields:
        """What a value writes into a spec."""
        meant = self.means(value, study) if self.means else value
        return cast("Fields", meant) if len(self.sets) > 1 else {self.sets[0]: meant}


class AxisBlock(Frozen):
    """Axes that are crossed with one another; of each its values, then what they do."""

    @classmethod
    def axes(cls) -> Mapping[str, Axis]:
        """By name, in the order of the fields."""
        found = {}
        for name, field in cls.model_fields.items():
            for axis in (fact for fact in field.metadata if isinstance(fact, Axis)):
                value = get_args(field.annotation)[0]
                kind = getattr(value, "__origin__", value)
                found[name] = replace(axis, name=name, kind=kind if kind in (int, float) else str)
        return found


def _taught(value: str, study: "Study") -> Fields:
    supervision = Supervision(value)
    return {
        "supervision": supervision,
        "teacher": None if supervision is Supervision.LABEL_ONLY else study.teacher_recipe,
    }


def _shown(value: str, study: "Study") -> Fields:
    """A rationale that is shown has a form and a teacher; a label that is shown has neither."""
    form = study.few_shot.supervision if study.few_shot and value == "rationale" else None
    return {"demonstrations.shows": value, "supervision": form, "teacher": study.teacher_recipe if form else None}


def _numbered(recipe: type[Recipe]) -> "Callable[[str, Study], Recipe]":
    """`span_balanced@0.9` as the two fields of a recipe; a number that is not written keeps its default."""
    return lambda value, _: recipe.model_validate(dict(zip(recipe.model_fields, value.split("@"), strict=False)))


def _written(value: str, _: "Study") -> Fields:
    """`truncated@16` as the two fields of a target; how a target is ordered is another axis."""
    word, _at, n_tokens = value.partition("@")
    return {"target.rationale": word} | ({"target.keep_tokens": int(n_tokens)} if n_tokens else {})


def _ranked(value: int, study: "Study") -> Fields:
    """Alpha keeps its proportion to the rank: that of `training.lora`, 2 where a study is silent."""
    usual = study.training.lora if study.training else LoraRecipe()
    lora = LoraRecipe(rank=value, alpha=usual.alpha * (value / usual.rank))
    return {"training.lora.rank": lora.rank, "training.lora.alpha": lora.alpha}


_BASE = Axis(sets=("base",), means=lambda name, study: study.base_recipes[name], is_averaged=True)
_LABEL_ONLY, _NOTHING_SHOWN = ("supervision", "label_only"), ("shows", "none")


class Axes(AxisBlock):
    """The factors of a block of fine-tuning trials; every combination of their values is a trial.

    A label-only trial stands once for all values of what acts on rationales alone.
    """

    supervision: Annotated[
        tuple[Supervision, ...], OneOrMore, Axis(sets=("supervision", "teacher", "target"), means=_taught, pace=1)
    ]
    base: Annotated[tuple[str, ...], OneOrMore, _BASE]
    train_size: Annotated[
        tuple[EvenNumber, ...], OneOrMore, Axis(sets=("train_size",), spelled="n={}", is_averaged=True)
    ]
    learning_rate: Annotated[
        tuple[Rate, ...], OneOrMore, Axis(sets=("training.learning_rate",), spelled="lr={}", is_averaged=True)
    ]
    seed: Annotated[tuple[Seed, ...], OneOrMore, Axis(sets=("training.seed",), spelled="seed {}", is_averaged=True)]
    objective: Annotated[
        tuple[ObjectiveValue, ...],
        Axis(sets=("training.objective",), means=_numbered(ObjectiveRecipe), usual="token_mean", absent_at=_LABEL_ONLY),
    ] = ()
    ordering: Annotated[
        tuple[Literal["rationale_first", "label_first"], ...],
        Axis(sets=("target.ordering",), usual="rationale_first", absent_at=_LABEL_ONLY),
    ] = ()
    rationale: Annotated[
        tuple[RationaleValue, ...],
        Axis(sets=("target.rationale", "target.keep_tokens"), means=_written, usual="real", absent_at=_LABEL_ONLY),
    ] = ()
    label_access: Annotated[
        tuple[Literal["blind", "conditioned", "filtered"], ...],
        Axis(sets=("teacher.label_access",), usual="blind", usual_at="teacher.label_access", absent_at=_LABEL_ONLY),
    ] = ()
    budget: Annotated[
        tuple[BudgetValue, ...],
        Axis(sets=("training.budget",), means=_numbered(BudgetRecipe), usual="steps"),
    ] = ()
    lora_rank: Annotated[
        tuple[Annotated[int, Field(ge=1, le=256)], ...],
        Axis(
            sets=("training.lora.rank", "training.lora.alpha"),
            means=_ranked,
            usual=LoraRecipe().rank,
            usual_at="training.lora.rank",
            spelled="rank {}",
        ),
    ] = ()
    training_draw: Annotated[
        tuple[Seed, ...], Axis(sets=("training_draw",), usual=0, spelled="draw {}", is_averaged=True)
    ] = ()


class FewShotAxes(AxisBlock):
    """The factors of few-shot trials on untrained bases; without demonstrations there are no shots and no orders."""

    shows: Annotated[
        tuple[Literal["none", "label", "rationale"], ...],
        OneOrMore,
        Axis(sets=("demonstrations.shows", "supervision", "teacher"), means=_shown, spelled="shows {}", pace=3),
    ]
    base: Annotated[tuple[str, ...], OneOrMore, _BASE]
    inference: Annotated[
        tuple[Literal["direct", "reason"], ...], OneOrMore, Axis(sets=("demonstrations.inference",), pace=2)
    ]
    shots: Annotated[
        tuple[Annotated[EvenNumber, Field(le=64)], ...],
        OneOrMore,
        Axis(sets=("demonstrations.shots",), spelled="{} shots", pace=1, absent_at=_NOTHING_SHOWN),
    ]
    selection: Annotated[
        tuple[Literal["fixed", "nearest"], ...], Axis(sets=("demonstrations.selection",), absent_at=_NOTHING_SHOWN)
    ] = ("fixed",)
    order_seed: Annotated[
        tuple[Seed, ...],
        OneOrMore,
        Axis(
            sets=("demonstrations.order_seed",), spelled="order {}", pace=1, is_averaged=True, absent_at=_NOTHING_SHOWN
        ),
    ]
    supervision: Supervision = Field(default=Supervision.FREE_FORM, description="the form of the rationales shown")


AXES: Mapping[str, Axis] = MappingProxyType({**Axes.axes(), **FewShotAxes.axes()})

if TYPE_CHECKING:
    AxisName = str
else:
    AxisName = Literal[tuple(AXES)]
