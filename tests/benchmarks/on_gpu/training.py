"""Training without DeepSpeed: an adapter, AdamW and the product's own loss, as a reference and to be timed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from workers.contract.trial import TrainingRecipe
from workers.models.adapters import fresh_adapter
from workers.training.objectives import Batch, collate, step_loss
from workers.training.views import View


@dataclass(frozen=True, eq=False)
class PlainTraining:
    """A model under an adapter and its optimizer; `workers.training.steps` does the same through DeepSpeed."""

    model: PeftModel
    recipe: TrainingRecipe
    optimizer: torch.optim.AdamW

    @classmethod
    def of(cls, model: PeftModel, recipe: TrainingRecipe) -> "PlainTraining":
        """An optimizer over what is trainable."""
        model.train()
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        return cls(model, recipe, optimizer)

    def step(self, batch: Batch, *, learning_rate: float, sizes: Sequence[int] | None = None) -> torch.Tensor:
        """One optimizer step; its loss, still on the device."""
        loss = step_loss(self.model(**batch.model_inputs).logits, batch, self.recipe.objective, sizes=sizes).total
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        (group,) = self.optimizer.param_groups
        torch.nn.utils.clip_grad_norm_(group["params"], self.recipe.max_grad_norm)
        group["lr"] = learning_rate
        self.optimizer.step()
        return loss.detach()


def losses_of(
    model: PeftModel, batches: Sequence[Sequence[View]], recipe: TrainingRecipe, *, rates: Sequence[float]
) -> list[float]:
    """The loss of every step, a batch and a learning rate each, on the device of the model."""
    training = PlainTraining.of(model, recipe)
    collated = [collate(views, pad_token=0).on(model.device) for views in batches]
    steps = zip(collated, rates, strict=True)
    return [float(training.step(batch, learning_rate=rate)) for batch, rate in steps]


@contextmanager
def trainable(base: PreTrainedModel, recipe: TrainingRecipe) -> Iterator[PlainTraining]:
    """A base with an adapter of this recipe in the base's precision, ready to be trained."""
    with fresh_adapter(base, recipe.lora, seed=recipe.seed) as model:
        for parameter in model.parameters():  # peft makes an adapter float32, DeepSpeed makes it what the base is
            parameter.data = parameter.data.to(base.dtype)
        yield PlainTraining.of(model, recipe)


def furthest(some: Sequence[float], others: Sequence[float]) -> float:
    """Largest relative difference between two courses of a loss."""
    return max(abs(one - other) / abs(other) for one, other in zip(some, others, strict=True))
