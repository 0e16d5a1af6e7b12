"""`python -m workers.models.builtin [RECIPE …]`: pre-train bases anew, by default all, and write their weights here."""

import sys

from safetensors.torch import save_file

from workers.models.builtin import clinical, tiny
from workers.models.builtin.shipped import weights_of
from workers.models.reading.tensors import stored_weights

for recipe in sys.argv[1:] or [*tiny.SIZES, *clinical.BASES]:
    model = tiny.pretrained(recipe) if recipe in tiny.SIZES else clinical.pretrained(recipe).model
    save_file(stored_weights(model), weights_of(recipe), metadata={"format": "pt"})
