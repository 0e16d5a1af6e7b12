"""Whether an adapter tells who was trained on: an attack by its loss, and texts that it gives back.

The attack is that of Yeom et al., CSF 2018 (a trained example has the lower loss), measured from the untrained base as
Watson et al., ICLR 2022 do, since some texts are easy for any model. Extraction is that of Carlini et al., ICLR 2023
(k tokens given back greedily from what stood before them). Exposure (Carlini et al., USENIX Security 2019) would need
canaries in the training data, which a study's trials don't have. A stronger attack may exist: this bounds none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from peft import PeftModel
from torch.nn.functional import log_softmax

from workers.contract.answers.export import ExportOrder, IntervalEstimate, Membership
from workers.contract.errors import InputError, Problem
from workers.contract.recipes.teaching import Supervision, TargetRecipe
from workers.contract.trial import ObjectiveRecipe
from workers.training.fine_tuning import taught_labels, training_examples
from workers.training.views import Example, Scaffold
from workers.work.bench import IntArray, Work
from workers.work.training_set import TrainingSet

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
# Enough for an interval of ±0.05; each costs two forward passes of one row.
N_EACH, N_RESAMPLES, LEAST = 256, 1000, 10
N_GIVEN_BACK = 8


@dataclass(frozen=True)
class KnownMembers:
    """Examples of which it is known whether they were trained on; arrays of shape (n_examples,)."""

    examples: list[Example]
    owners: list[str]
    labels: BoolArray

    def some(self, *, n: int) -> "KnownMembers":
        """That many of them at most, drawn by a fixed seed."""
        kept = np.sort(np.random.default_rng(0).permutation(len(self.examples))[:n])
        return KnownMembers([self.examples[at] for at in kept], [self.owners[at] for at in kept], self.labels[kept])


@dataclass(frozen=True)
class Seen:
    """What a model makes of examples, of shape (n_examples,): mean loss a target token, is text given back."""

    loss: FloatArray
    is_given_back: BoolArray


def measure_membership(work: Work, model: PeftModel, order: ExportOrder) -> Membership:
    """Compare what an adapter makes of its training examples with what it makes of other participants'.

    Raises:
        InputError: There are too few of either.
    """
    members, others = members_of(work), others_of(work)
    is_by_labels = len(others.examples) < LEAST and work.spec.teacher is not None
    if is_by_labels:  # its teacher wrote for nobody else
        rows, bare = TrainingSet.of(work).rows, _without_rationales(work)
        members, others = _watched(bare, rows), _watched(bare, _other_rows(bare, rows))
    if min(len(members.examples), len(others.examples)) < LEAST:
        what = (
            f"only {len(others.examples)} examples of others and {len(members.examples)} trained ones can be compared"
        )
        raise InputError(Problem("--to", what, f"at least {LEAST} of each are needed: export another trial"))
    after = [look(model, watched.examples) for watched in (members, others)]
    with model.disable_adapter():
        before = [look(model, watched.examples) for watched in (members, others)]
    gains = [b.loss - a.loss for a, b in zip(after, before, strict=True)]
    returned = [a.is_given_back & ~b.is_given_back for a, b in zip(after, before, strict=True)]
    resampled = Resampled.of(members, others)
    return Membership(
        trial_id=work.spec.trial_id,
        n_members=len(members.examples),
        n_others=len(others.examples),
        attack=resampled.auc(*gains),
        plain=resampled.auc(*(-seen.loss for seen in after)),
        extracted=resampled.difference(*returned),
        is_by_labels=is_by_labels,
        data_class=order.data_class,
        reason=order.reason,
    )


def members_of(work: Work) -> KnownMembers:
    """What the adapter was trained on, exactly as it was."""
    return _watched(work, TrainingSet.of(work).rows)


def _watched(work: Work, rows: IntArray) -> KnownMembers:
    base, answer = work.base
    examples = training_examples(work, Scaffold.of(base.tokenizer, answer, work.spec.base), rows)
    owners = work.labels["subject_id"].iloc[rows].astype(str).tolist()
    return KnownMembers(examples, owners, np.array(taught_labels(work, rows))).some(n=N_EACH)


def others_of(work: Work) -> KnownMembers:
    """The same of participants of whom nothing was trained on, with recorded labels, as far as there are texts."""
    rows = _other_rows(work, TrainingSet.of(work).rows)
    if not len(rows):
        return KnownMembers([], [], np.zeros(0, dtype=bool))
    return _watched(replace(work, spec=work.spec.model_copy(update={"labels": "recorded"})), rows)


def _other_rows(work: Work, trained: IntArray) -> IntArray:
    subjects = work.labels["subject_id"].astype(str)
    rows: IntArray = np.flatnonzero(~subjects.isin(set(subjects.iloc[trained])).to_numpy())
    if work.spec.supervision is not Supervision.LABEL_ONLY:
        rows = rows[[len(rationale) > 0 for rationale in work.rationale_tokens(rows)]]
    return np.sort(np.random.default_rng(1).permutation(rows)[: 4 * N_EACH])


def _without_rationales(work: Work) -> Work:
    """The same trial as if it had taught the labels alone."""
    bare = {"supervision": Supervision.LABEL_ONLY, "teacher": None, "target": TargetRecipe()}
    training = work.training.model_copy(update={"objective": ObjectiveRecipe()})
    return replace(work, spec=work.spec.model_copy(update={**bare, "training": training}))


def look(model: PeftModel, examples: Sequence[Example]) -> Seen:
    """One forward pass a view, by itself. A text is given back where each next token is the likeliest after the true
    ones before it, which is what greedy writing would come to."""
    losses, given_back = [], []
    for example in examples:
        token_losses = []
        for number, view in enumerate(example):
            ids = torch.tensor([[*view.prompt, *view.target]], device=model.device)
            with torch.inference_mode():
                logits = model(input_ids=ids).logits[0, :-1].float()
            followed = ids[0, 1:]
            losses_here = -log_softmax(logits, dim=-1).gather(1, followed[:, None])[:, 0]
            token_losses.append(losses_here[-len(view.target) :])
            if number == 0:
                begin = _half_way(len(view.prompt), len(view.target)) - 1
                is_likeliest = logits.argmax(dim=-1) == followed
                given_back.append(bool(is_likeliest[begin : begin + N_GIVEN_BACK].all()))
        losses.append(float(torch.cat(token_losses).mean()))
    return Seen(np.array(losses), np.array(given_back))


def _half_way(n_prompt: int, n_target: int) -> int:
    """Where what is to be given back begins: half-way in the target, or in all of it where a target is short."""
    has_text = n_target >= 2 * N_GIVEN_BACK
    return n_prompt + n_target // 2 if has_text else (n_prompt + n_target) // 2


@dataclass(frozen=True)
class Resampled:
    """Participants drawn anew with replacement, members and others apart; pairs are compared within a label.

    Weights have shape (1 + N_RESAMPLES, n_examples), the first row all ones; `pairs` is (n_members, n_others).
    """

    of_members: FloatArray
    of_others: FloatArray
    pairs: FloatArray

    @classmethod
    def of(cls, members: KnownMembers, others: KnownMembers) -> "Resampled":
        """Draw with a fixed seed."""
        draw = np.random.default_rng(2)
        pairs = (members.labels[:, None] == others.labels[None, :]).astype(np.float64)
        return cls(_weights(members.owners, draw), _weights(others.owners, draw), pairs)

    def auc(self, members: FloatArray, others: FloatArray) -> IntervalEstimate:
        """Chance that a member's score is the higher one."""
        above = (members[:, None] > others[None, :]) + 0.5 * (members[:, None] == others[None, :])
        n_pairs = np.einsum("rm,mo,ro->r", self.of_members, self.pairs, self.of_others, optimize=True)
        n_above = np.einsum("rm,mo,ro->r", self.of_members, self.pairs * above, self.of_others, optimize=True)
        has_pairs = n_pairs > 0
        return _estimate(n_above[has_pairs] / n_pairs[has_pairs])

    def difference(self, members: BoolArray, others: BoolArray) -> IntervalEstimate:
        """Share of members minus share of others."""
        shares = [
            (weights * values).sum(axis=1) / weights.sum(axis=1)
            for weights, values in ((self.of_members, members), (self.of_others, others))
        ]
        return _estimate(shares[0] - shares[1])


def _weights(owners: Sequence[str], draw: np.random.Generator) -> FloatArray:
    names, owner = np.unique(np.asarray(owners), return_inverse=True)
    drawn = draw.multinomial(len(names), np.full(len(names), 1 / len(names)), size=N_RESAMPLES)
    return np.vstack([np.ones(len(owner)), drawn[:, owner]]).astype(np.float64)


def _estimate(values: FloatArray) -> IntervalEstimate:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return IntervalEstimate(value=float(values[0]), low=float(low), high=float(high))
