"""The weights that a built-in base comes with: another processor would pre-train others in the last bits, and a study's
numbers would move with them."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel

from workers.contract.errors import InputError, Problem
from workers.models.reading.tensors import fill

REMEDY = "install the package anew"


def weights_of(recipe: str) -> Path:
    """Where they lie in this package; `python -m workers.models.builtin` writes them."""
    return Path(__file__).parent / "weights" / f"{recipe}.safetensors"


def give_weights(model: PreTrainedModel, recipe: str) -> None:
    """Those that the base was pre-trained to have.

    Raises:
        InputError: They are not there, or not as they were.
    """
    place = weights_of(recipe)
    try:
        weights = load_file(place)
    except (OSError, SafetensorError) as error:
        raise InputError(Problem(str(place), f"can't be read ({type(error).__name__})", REMEDY)) from None
    fill(model, weights, where=place, remedy=REMEDY)
