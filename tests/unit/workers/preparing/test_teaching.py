"""Rationales that a language model writes for a store: asked for what trials use, once, and read together."""

from pathlib import Path

import pytest

from support.launches.servers import answer, serving
from support.launches.teaching import always
from support.studies.orders import micro_spec, order_of
from workers.contract.inputs import InputKind, input_recipes, wanted_rationales
from workers.contract.layout import StoreLayout
from workers.contract.recipes.teaching import DemonstrationRecipe, EndpointTeacherRecipe, Supervision
from workers.contract.trial import EndpointPlace, Method, TrialSpec
from workers.examples.audit.study import read_written
from workers.preparing.prepare import prepare

TEXT = "The systolic pressure raises risk. Overall, the risk is raised."
ASKED = EndpointTeacherRecipe(kind="endpoint", model="m", ungrounded="keep", version=2)


def taught(supervision: Supervision = Supervision.FREE_FORM, **changes: object) -> TrialSpec:
    return micro_spec(supervision, **{"teacher": ASKED, **changes})


def test_a_store_asks_once_for_each_rationale_that_a_trial_uses(store: Path) -> None:
    specs = [taught(train_size=8), taught(train_size=16), taught(Supervision.STEP_BY_STEP, train_size=8)]
    with serving(always(answer(TEXT))) as server:
        place = EndpointPlace(base_url=server.base_url)
        prepare(order_of(spec, store).model_copy(update={"endpoint": place}) for spec in specs)
        assert len(server.asked) == 16 + 8
    written = read_written(specs, StoreLayout(store))
    assert [(one.supervision, len(one.texts), len(one.cases)) for one in written] == [
        ("free_form", 16, 16),
        ("step_by_step", 8, 8),
    ]
    assert [one.supervision for one in read_written(specs[:2], StoreLayout(store))] == ["free_form"]


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        (taught(), 32),
        (taught(train_size=None), None),
        (taught(method=Method.FEW_SHOT, demonstrations=DemonstrationRecipe(
            shots=4, shows="rationale", inference="direct", order_seed=1)), 4),
        (taught(method=Method.FEW_SHOT, demonstrations=DemonstrationRecipe(
            shots=4, shows="rationale", inference="direct", order_seed=1, selection="nearest")), None),
    ],
)  # fmt: skip
def test_rationales_are_wanted_of_who_is_trained_on_or_may_be_shown(spec: TrialSpec, size: int | None) -> None:
    wanted = wanted_rationales(spec)
    assert wanted is not None
    assert wanted.train_size == size


def test_what_earlier_versions_and_templates_wrote_is_found_as_it_was() -> None:
    before = ASKED.model_copy(update={"version": 1})
    for teacher in (before, micro_spec(Supervision.FREE_FORM).teacher):
        one, other = (
            input_recipes(taught(kind, train_size=size, teacher=teacher))[InputKind.RATIONALES].digest()
            for kind, size in ((Supervision.FREE_FORM, 8), (Supervision.STEP_BY_STEP, 16))
        )
        assert one == other
