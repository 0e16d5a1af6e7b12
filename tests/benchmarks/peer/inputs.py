"""What the peer is given of a prepared store: a JSON file a trial, with the very tokens that the product trains on."""

import json
from itertools import chain
from pathlib import Path

from orchestrator.design.grid import Design
from workers.contract.inputs import InputKind
from workers.contract.layout import StoreLayout
from workers.contract.trial import Trial
from workers.scoring.evaluating import Questions
from workers.training.fine_tuning import training_examples
from workers.training.objectives import IGNORED
from workers.training.steps import batches
from workers.training.views import Scaffold
from workers.work.bench import Bench, Work
from workers.work.training_set import TrainingSet

SETTINGS = ("learning_rate", "seed", "steps", "batch_size", "warmup_fraction", "weight_decay", "max_grad_norm")


def write_inputs(design: Design, layout: StoreLayout, folder: Path) -> None:
    """One file a trial of the grid."""
    folder.mkdir()
    bench = Bench()
    for trial in design.trials:
        work = Work(spec=trial.spec, layout=layout, folder=folder, bench=bench)
        (folder / f"{trial.trial_id}.json").write_text(json.dumps(_given(trial, work)))


def _given(trial: Trial, work: Work) -> dict[str, object]:
    taught, (base, answer), recipe = TrainingSet.of(work), work.base, work.training
    examples = training_examples(work, Scaffold.of(base.tokenizer, answer, work.spec.base), taught.rows)
    asked, scored = Questions.of(work, base), work.scored_rows
    members = work.labels.iloc[scored.rows]
    return {
        "trial_id": trial.trial_id,
        "base": str(work.input(InputKind.BASE)),
        "rank": recipe.lora.rank,
        "alpha": recipe.lora.alpha,
        **recipe.model_dump(include=set(SETTINGS)),
        "examples": [
            {"input_ids": [*view.prompt, *view.target], "labels": [IGNORED] * len(view.prompt) + view.target}
            for (view,) in examples
        ],
        "order": list(chain.from_iterable(batches(len(examples), recipe))),
        "prompts": [[*asked.prefix, *prompt] for prompt in asked.prompts],
        "split": members["split"].tolist(),
        "label": members["boolean_value"].astype(int).tolist(),
        "weight": scored.weights.tolist(),
        "train_prevalence": taught.prevalence.train,
        "max_new_tokens": work.spec.evaluation.max_new_tokens,
        "answer": {
            "opening": answer.opening,
            "forced": answer.forced,
            "yes": answer.label_ids[True],
            "no": answer.label_ids[False],
            "closers": sorted(answer.closers),
            "end": answer.end,
            "ends": sorted(answer.ends),
        },
    }
