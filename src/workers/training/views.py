"""What is learnt from: the one or two views of an example, each a prompt and a target, as token ids."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workers.contract.recipes.bases import BaseSettings
from workers.contract.recipes.teaching import Supervision, TargetRecipe
from workers.contract.trial import ObjectiveRecipe, TrialSpec
from workers.examples.targets import LABEL_PREFIX, RATIONALE_PREFIX
from workers.examples.tokenizing.encoding import Encoder
from workers.examples.tokenizing.tokens import AnswerTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class View:
    """One sequence to learn from, as token ids; loss falls on the target alone.

    label_at: where in the target the yes or no begins; null where it has none.
    n_label: tokens of the yes or no.
    is_label_view: the target is the answer line alone.
    """

    prompt: list[int]
    target: list[int]
    label_at: int | None = None
    is_label_view: bool = False
    n_label: int = 1


Example = tuple[View, ...]


@dataclass(frozen=True)
class Scaffold:
    """How one tokenizer writes all that stands around prompts and rationales; a line break as it follows an answer."""

    answer: AnswerTokens
    line_break: list[int]
    filler: int
    label_prefix: list[int]
    rationale_prefix: list[int]

    @classmethod
    def of(
        cls, tokenizer: "PreTrainedTokenizerBase", answer: AnswerTokens, settings: BaseSettings | None = None
    ) -> "Scaffold":
        """Read it off a tokenizer; the filler is its full stop."""
        encoder = Encoder.of(tokenizer, settings or BaseSettings())
        return cls(
            answer,
            line_break=encoder.go_on("\n"),
            filler=encoder.go_on(" .")[-1],
            label_prefix=encoder.begin(LABEL_PREFIX),
            rationale_prefix=encoder.begin(RATIONALE_PREFIX),
        )

    def prompt(self, prompt: Sequence[int], *, prefix: Sequence[int] = ()) -> list[int]:
        """A whole prompt: what every text begins with, a task's prefix, the record."""
        return [*self.answer.bos, *prefix, *prompt]


def refuse_meaningless(spec: TrialSpec) -> None:
    """An objective that weighs rationales needs some.

    Raises:
        ValueError: Labels alone, with another objective than `token_mean`.
    """
    if spec.training and spec.supervision is Supervision.LABEL_ONLY and spec.training.objective.kind != "token_mean":
        raise ValueError(f"the objective {spec.training.objective.kind} needs rationales; label_only has none")


def label_views(prompt: list[int], *, has_event: bool, words: Scaffold) -> Example:
    """The only view of an example without a rationale."""
    return (_answered(words.prompt(prompt), None, has_event=has_event, answer=words.answer),)


def _answered(whole: list[int], rationale: list[int] | None, *, has_event: bool, answer: AnswerTokens) -> View:
    """A view whose target ends in the answer line; the label's view where there is no rationale, not even an empty."""
    line = [*(rationale or []), *answer.ending(has_event=has_event, is_explained=rationale is not None)]
    n_label = len(answer.label(has_event=has_event))
    return View(whole, [*line, answer.end], len(line) - n_label, rationale is None, n_label)


def rationale_views(
    prompt: list[int],
    rationale: list[int],
    *,
    has_event: bool,
    objective: ObjectiveRecipe,
    target: TargetRecipe,
    words: Scaffold,
) -> Example:
    """The views of an example with a rationale, which a control may have emptied; the label's view comes last.

    Both views of `two_view_mix` and `two_view_align` read the same prompt: ours, the two views of arXiv 2510.16686 are
    known to us from secondary notes only. Under `multi_task` the rationale's view has no answer line.
    """
    answer, whole = words.answer, words.prompt(prompt)
    if objective.kind == "multi_task":
        closing = answer.thought.close if answer.thought is not None and answer.thought.is_open else []
        rationale_view = View(words.prompt(prompt, prefix=words.rationale_prefix), [*rationale, *closing, answer.end])
        labelled = words.prompt(prompt, prefix=words.label_prefix)
        return rationale_view, _answered(labelled, None, has_event=has_event, answer=answer)
    label_view = _answered(whole, None, has_event=has_event, answer=answer)
    if target.ordering == "label_first":  # what follows the answer is no thought: an open one is closed before it
        line = [*label_view.target[:-1], *words.line_break, *rationale, answer.end]
        both = replace(label_view, target=line, is_label_view=False)
    else:
        both = _answered(whole, rationale, has_event=has_event, answer=answer)
    return (both, label_view) if objective.kind in {"two_view_mix", "two_view_align"} else (both,)
