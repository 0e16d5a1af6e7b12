"""Few-shot trials: untrained bases that read worked examples before the question.

Cells stay together: what the demonstrations show varies fastest. Without demonstrations one trial an inference stands.
"""

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

from orchestrator.study.study import FewShotAxes, Study
from workers.contract.recipes.teaching import DemonstrationRecipe
from workers.contract.trial import COMPUTE_VERSION, AxisValue, Method, Trial, TrialSpec


def few_shot_trials(study: Study) -> Iterator[Trial]:
    """Every few-shot trial of a study; those without demonstrations are repeated, once for each place they match."""
    axes = study.few_shot
    if axes is None:
        return
    for base, selection, shots, order_seed, inference, shows in product(*_axes_of(axes)):
        demonstrations = DemonstrationRecipe(
            shots=shots, shows=shows, inference=inference, order_seed=order_seed, selection=selection
        )
        if shows == "none":
            demonstrations = DemonstrationRecipe(shots=0, shows="none", inference=inference, order_seed=0)
        yield Trial(spec=_spec(study, axes, base, demonstrations), coordinates=_coordinates(base, demonstrations))


def n_places(study: Study) -> int:
    """How many places the few-shot axes cross to; counted, not made."""
    return prod(map(len, _axes_of(study.few_shot))) if study.few_shot else 0


def _axes_of(axes: FewShotAxes) -> tuple[tuple[Any, ...], ...]:
    return axes.base, axes.selection, axes.shots, axes.order_seed, axes.inference, axes.shows


def _spec(study: Study, axes: FewShotAxes, base: str, demonstrations: DemonstrationRecipe) -> TrialSpec:
    shows_rationales = demonstrations.shows == "rationale"
    return TrialSpec(
        cohort=study.cohort.recipe,
        evaluation=study.evaluation,
        compute_version=COMPUTE_VERSION,
        method=Method.FEW_SHOT,
        prompt=study.prompt,
        supervision=axes.supervision if shows_rationales else None,
        teacher=study.teacher if shows_rationales else None,
        demonstrations=demonstrations,
        base=study.base_recipe(base),
        precision=study.training.precision if study.training else "float32",
    )


def _coordinates(base: str, demonstrations: DemonstrationRecipe) -> dict[str, AxisValue]:
    place: dict[str, AxisValue] = {"shows": demonstrations.shows, "base": base, "inference": demonstrations.inference}
    if demonstrations.shows == "none":
        return place
    return place | {
        "shots": demonstrations.shots,
        "selection": demonstrations.selection,
        "order_seed": demonstrations.order_seed,
    }
