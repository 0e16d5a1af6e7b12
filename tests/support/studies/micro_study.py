"""Study files for tests: the micro base on the real cohort, small enough to run for real."""

from pathlib import Path

from support.places import FRAMINGHAM
from workers.cohort.fetch import TABLES

TEMPLATE = """\
study: micro
question: Does the machinery work from end to end?
cohort: {{source: framingham, file: {file}, sha256: {sha256}, min_cell: 5}}
teacher: {{max_words: 32}}
bases: {{micro: {{kind: builtin, recipe: micro_llama}}}}
axes:
  supervision: [label_only, free_form]
  base: [micro]
  train_size: [{train_size}]
  learning_rate: [3e-3]
  seed: [{seeds}]
training: {{steps: {steps}, batch_size: 8}}
evaluation: {{controls_per_case: 1, max_new_tokens: 48}}
controls: [age_sex]
contrasts:
  rationale_vs_label: {{treatment: [free_form], reference: label_only}}
resources: {{{resources}}}
"""


def write_study(
    folder: Path,
    *,
    file: Path = FRAMINGHAM,
    sha256: str = TABLES["framingham.csv"],
    train_size: int = 32,
    seeds: str = "1",
    steps: int = 4,
    resources: str = "cpus_per_trial: 1, gpus_per_trial: 1",
) -> Path:
    """A study file in `folder`."""
    path = folder / "micro.yaml"
    text = TEMPLATE.format(
        file=file, sha256=sha256, train_size=train_size, seeds=seeds, steps=steps, resources=resources
    )
    path.write_text(text)
    return path
