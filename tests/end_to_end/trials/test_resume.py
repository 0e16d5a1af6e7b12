"""A training that is killed and goes on ends as one that never stopped, bit for bit; the trial says that it did."""

import gc
import math
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from support.studies.orders import micro_spec, micro_training
from workers.contract.inputs import InputKind, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.trial import Method, TrainingRecipe, TrialSpec
from workers.models.adapters import fresh_adapter
from workers.models.base import load
from workers.models.engine import deepspeed_engine
from workers.models.head import HeadedModel
from workers.store.checkpoints import Cadence
from workers.store.published import folder_of
from workers.training.course import Course
from workers.training.head import LabelledPrompt, learn_labels
from workers.training.steps import learn_targets, train
from workers.training.views import View
from workers.work.bench import Bench, Work

CPU = torch.device("cpu")
STEPS = 6
EXAMPLES = [(View(prompt=[5 + i, 30, 40 + i], target=[60 + i, 70, 80], label_at=1),) for i in range(16)]
PROMPTS = [LabelledPrompt([5 + i, 30, 40 + i], has_event=i % 3 == 0) for i in range(16)]


class Killed(BaseException):
    """The end of a process, as nothing in it expects it."""


class Clock:
    """A second passes with every look; the process dies when a step asks for the time.

    A training looks once at the beginning, once after each step, and once more after each checkpoint. Where one is
    written after every step, the look after step s is number 2 s counted from the step that the training began after.
    """

    def __init__(self, dies_at_look: float = math.inf) -> None:
        self._dies_at_look = dies_at_look
        self._n_looks = 0

    def __call__(self) -> float:
        self._n_looks += 1
        if self._n_looks == self._dies_at_look:
            raise Killed
        return float(self._n_looks)


def dying_after(n_steps: int) -> Clock:
    """Dies when so many further steps were taken, before the last of them is saved."""
    return Clock(dies_at_look=2 * n_steps)


def work_on(layout: StoreLayout, spec: TrialSpec, *, every_s: float = 0.0, clock: Clock | None = None) -> Work:
    torch.set_num_threads(1)
    folder = layout.root / "attempt"
    folder.mkdir(parents=True, exist_ok=True)
    return Work(spec=spec, layout=layout, folder=folder, bench=Bench(), cadence=Cadence(every_s, clock or Clock()))


class Trainer:
    """Trains one adapter, with or without a head, on a micro base that makes random numbers matter."""

    def __init__(self, base_folder: Path, recipe: TrainingRecipe, method: Method) -> None:
        self.recipe = recipe
        self.method = method
        self._base = load(base_folder, precision=recipe.precision, device=CPU).model
        for module in self._base.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.2
        gc.collect()
        gc.freeze()  # as a worker does: the teardown of an engine then takes milliseconds

    def run(self, work: Work) -> tuple[dict[str, torch.Tensor], Course]:
        """The trained tensors, and the course."""
        recipe = self.recipe
        course = Course(work, recipe)
        with fresh_adapter(self._base, recipe.lora, seed=recipe.seed) as adapted:
            headed = self.method is Method.HEAD
            model = (HeadedModel(adapted, seed=recipe.seed) if headed else adapted).train()
            with deepspeed_engine(model, recipe, device=CPU) as engine:
                start = course.begin(engine)
                steps = (
                    train(engine, PROMPTS, recipe, learn_labels, pad_token=0, start=start)
                    if headed
                    else train(engine, EXAMPLES, recipe, learn_targets, pad_token=0, start=start)
                )
                for _ in course.follow(steps, engine):
                    pass
            trained = {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}
        return trained, course


def timeless(course: Course) -> list[object]:
    """The history without the one column that no two trainings share."""
    return [replace(record, wall_s=0.0) for record in course.history]


# A second and more each; the others are slow.
QUICK = {(Method.LORA, 0, "float32"), (Method.LORA, 1, "bfloat16"), (Method.HEAD, 2, "float32")}
COMBINATIONS = [
    pytest.param(*one, id="{}-zero{}-{}".format(*one), marks=[] if one in QUICK else pytest.mark.slow)
    for one in product((Method.LORA, Method.HEAD), (0, 1, 2), ("float32", "bfloat16"))
]


@pytest.mark.parametrize(("method", "zero_stage", "precision"), COMBINATIONS)
def test_killed_at_any_steps_and_resumed_it_ends_bit_for_bit_as_without(
    prepared_store: Path, tmp_path: Path, method: Method, zero_stage: int, precision: str
) -> None:
    recipe = micro_training(steps=STEPS, zero_stage=zero_stage, precision=precision, weight_decay=0.1)
    spec = micro_spec(training=recipe)
    base_folder = folder_of(input_recipes(spec)[InputKind.BASE], StoreLayout(prepared_store))
    trainer = Trainer(base_folder, recipe, method)
    whole, undisturbed = trainer.run(work_on(StoreLayout(tmp_path / "whole"), spec, every_s=math.inf))
    layout = StoreLayout(tmp_path / "killed")

    @hypothesis_settings(max_examples=4)
    @example(kills=[1])
    @example(kills=[STEPS])
    @given(kills=st.lists(st.integers(1, STEPS), min_size=1, max_size=3))
    def killed_and_resumed(kills: list[int]) -> None:
        shutil.rmtree(layout.root, ignore_errors=True)
        done = 0
        for n_steps in kills:
            if done + n_steps > STEPS:
                break
            with pytest.raises(Killed):
                trainer.run(work_on(layout, spec, clock=dying_after(n_steps)))
            done += n_steps - 1
        work = work_on(layout, spec)
        resumed, course = trainer.run(work)
        assert work.meter.resumed_from_step == done
        assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
        assert timeless(course) == timeless(undisturbed)

    killed_and_resumed()
    assert any(bool(tensor.any()) for name, tensor in whole.items() if "lora_B" in name)
