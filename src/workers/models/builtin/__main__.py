"""`python -m workers.models.builtin`: pre-train anew the bases that come with their weights, and write those here."""

from safetensors.torch import save_file

from workers.models.builtin.tiny import SIZES, pretrained, weights_of
from workers.models.reading.tensors import stored_weights

for recipe in SIZES:
    save_file(stored_weights(pretrained(recipe)), weights_of(recipe), metadata={"format": "pt"})
