"""Whom the mechanism is measured on: some examples of train and, where they have rationales, of tuning.

The same for every trial that shares cohort, teacher and supervision, whatever its objective or rationale control, with
the recorded labels and the teacher's own rationales. Nobody in tuning is trained on.
"""

import numpy as np

from workers.cohort.splits import balanced_train_rows, largest_balanced_size
from workers.contract.recipes.teaching import Supervision
from workers.training.diagnostics import ProbeExample
from workers.training.views import Scaffold, View
from workers.work.bench import IntArray, Work


def probe_of(work: Work, words: Scaffold, train_rows: IntArray) -> dict[str, list[ProbeExample]]:
    """Up to `diagnostics.n_probe` label-balanced examples of each split, first in hash order; no split without any.

    Args:
        train_rows: Those that the trial is trained on.
    """
    n_probe = work.training.diagnostics.n_probe
    if not n_probe:
        return {}
    among = {"train": train_rows, "tuning": np.flatnonzero((work.labels["split"] == "tuning").to_numpy())}
    rows = {split: _probe_rows(work, members, n_probe=n_probe) for split, members in among.items()}
    return {split: _probe_examples(work, members, words) for split, members in rows.items() if len(members)}


def _probe_rows(work: Work, rows: IntArray, *, n_probe: int) -> IntArray:
    if work.spec.supervision is not Supervision.LABEL_ONLY:
        rows = rows[[len(rationale) > 0 for rationale in work.rationale_tokens(rows)]]
    # The hash order is that of the training rows, so it is asked for in their name.
    members = work.labels.iloc[rows].assign(split="train")
    size = min(n_probe, largest_balanced_size(members))
    return balanced_train_rows(members, size=size, salt=work.spec.cohort.split_salt)


def _probe_examples(work: Work, rows: IntArray, words: Scaffold) -> list[ProbeExample]:
    is_multi_task = work.training.objective.kind == "multi_task"
    label_prefix, rationale_prefix = (words.label_prefix, words.rationale_prefix) if is_multi_task else ([], [])
    has_rationales = work.spec.supervision is not Supervision.LABEL_ONLY
    examples = []
    for prompt, rationale, outcome in zip(
        work.prompt_tokens(rows), work.rationale_tokens(rows), work.outcomes[rows], strict=True
    ):
        answer, has_event = words.answer, bool(outcome)
        label = answer.label(has_event=has_event)
        before = answer.ending(has_event=has_event, is_explained=False)[: -len(label)]
        direct = View([*words.prompt(prompt, prefix=label_prefix), *before], label, label_at=0, n_label=len(label))
        target = [*rationale, *answer.ending(has_event=has_event, is_explained=True)]
        reasoned = View(
            words.prompt(prompt, prefix=rationale_prefix), target, label_at=len(target) - len(label), n_label=len(label)
        )
        examples.append(ProbeExample(direct, reasoned if has_rationales else None, n_rationale_tokens=len(rationale)))
    return examples
