"""Rationales that a base of the study writes by itself, without a server: batched, seeded, judged as an endpoint's are.

Costs `max_tokens` of writing a rationale, and up to twice that again where the record does not support what came.
Each row draws random numbers of its own, by participant, so that nothing follows from the rows beside it; what was
written is kept, so a run that ends early loses a batch.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
from transformers import PreTrainedTokenizerBase

from workers.contract.answers.proof import BaseProof
from workers.contract.errors import InputError, Problem
from workers.contract.inputs import Counts
from workers.contract.outcome import Validity
from workers.contract.recipes.recipe import digest_of
from workers.contract.recipes.teaching import BaseTeacherRecipe, WantedRationales
from workers.examples.audit.grounding import ground
from workers.examples.endpoint.assignment import Assignment
from workers.examples.endpoint.cache import AnswerCache, KeptAnswer
from workers.examples.endpoint.teacher import MAX_REGENERATED, Asked, Draft, Question, add_cost, is_to_regenerate
from workers.examples.endpoint.wording import NEWEST, SENTENCE_END, TeacherReply, request_of, tidy
from workers.examples.endpoint.write import MAX_INVALID_SHARE
from workers.examples.targets import WORDS
from workers.examples.tokenizing.tokens import AnswerTokens, answer_tokens, tokenise
from workers.examples.tokenizing.wrapping import wrapping_of
from workers.models.base import Base, context_tokens, load, load_tokenizer
from workers.scoring.choosing import Sampling, greedy
from workers.scoring.evaluating import tokens_per_batch
from workers.scoring.labels import read_labels
from workers.scoring.listening import Answering
from workers.scoring.openers import Opener, opener_of
from workers.store.published import PROOF

# What changes no answer, or only by the words of the request.
READ_LATER = frozenset({"label_access", "max_words", "ungrounded"})


def write_by_base(
    cohort: Path,
    recipe: BaseTeacherRecipe,
    *,
    wanted: WantedRationales | None,
    prompts: Path,
    base: Path,
    proof: Path,
    cache: Path,
) -> tuple[pd.DataFrame, Counts]:
    """What is assigned to a base, written; and figures.

    Args:
        prompts, base, proof: Prepared: the texts that the student reads, the base that writes, how its rows may go
            through it together.
        cache: Where what was written is kept and looked up.

    Raises:
        InputError: The base has no room for a question and its answer, or wrote too little.
    """
    assignment = Assignment.of(cohort, prompts, recipe, wanted=wanted)
    teacher = LocalTeacher.of(recipe, base, proof=proof, cache=AnswerCache.of_store(cache))
    return assignment.settled(carry_out(assignment, teacher))


def check_room(
    cohort: Path, recipe: BaseTeacherRecipe, *, wanted: WantedRationales | None, prompts: Path, base: Path
) -> None:
    """See that every question and its answer fit a base.

    Args:
        base: Prepared, or a sketch: its configuration and tokenizer alone.

    Raises:
        InputError: One does not.
    """
    assignment, asking = Assignment.of(cohort, prompts, recipe, wanted=wanted), Asking.of(recipe, base)
    asking.tokens([asking.request(question, assignment.themes) for question in assignment.questions])


class Writer(Protocol):
    """Answers questions of an assignment, in any order."""

    def answers(
        self, assignment: Assignment, places: Sequence[int], *, attempt: int
    ) -> Iterator[tuple[int, KeptAnswer, bool]]:
        """What is said to each of these questions, and whether it had to be asked."""


def carry_out(assignment: Assignment, teacher: Writer) -> list[Asked]:
    """What became of every question, in order: a rationale that the record supports or the best of three tries.

    Raises:
        InputError: Too many have none.
    """
    questions, recipe = assignment.questions, assignment.recipe
    written = [Asked() for _ in questions]
    # At temperature 0 another try would be the same text.
    for attempt in range(1 + (MAX_REGENERATED if recipe.temperature else 0)):
        waiting = [
            place
            for place, one in enumerate(written)
            if one.draft is None or is_to_regenerate(one.draft, questions[place], recipe)
        ]
        if not waiting:
            break
        for place, kept, is_new in teacher.answers(assignment, waiting, attempt=attempt):
            one = written[place]
            one.n_sent += is_new
            one.n_regenerated += one.draft is not None
            add_cost(one, kept)
            draft = _draft(kept, questions[place], assignment)
            one.draft = max(filter(None, (one.draft, draft)), key=lambda draft: draft.support, default=None)
    if (n_unwritten := sum(one.draft is None for one in written)) > MAX_INVALID_SHARE * len(written):
        what = f"its base came to no whole sentence in {n_unwritten} of {len(written)} rationales"
        raise InputError(Problem("teacher", what, "raise teacher.max_tokens, or choose a base that follows a request"))
    return written


def _draft(kept: KeptAnswer, question: Question, assignment: Assignment) -> Draft | None:
    """What came of one try; null where no sentence did. A conditioned teacher argues for what it was told."""
    text = tidy(kept.answer.reasoning, max_words=assignment.recipe.max_words)
    if not text:
        return None
    grounding = ground(text, question.case.facts, vocabulary=assignment.vocabulary)
    is_told = assignment.recipe.label_access == "conditioned"
    says_event = question.case.has_event if is_told else kept.answer.says_event
    return Draft(text, says_event, grounding.is_grounded, grounding.precision or 0.0)


@dataclass(frozen=True)
class Asking:
    """How a base is asked, by its tokenizer; room: tokens of the longest request that it can answer."""

    recipe: BaseTeacherRecipe
    tokenizer: PreTrainedTokenizerBase
    answer: AnswerTokens
    room: int

    @classmethod
    def of(cls, recipe: BaseTeacherRecipe, folder: Path) -> "Asking":
        """Read tokenizer and configuration."""
        tokenizer = load_tokenizer(folder)
        answer = answer_tokens(tokenizer, recipe.base, folder=folder)
        return cls(recipe, tokenizer, answer, context_tokens(folder) - recipe.max_tokens - answer.longest)

    def request(self, question: Question, themes: Sequence[str]) -> str:
        """What a question is in words."""
        outcome = question.case.has_event if self.recipe.label_access == "conditioned" else None
        return request_of(question.record, question.supervision, self.recipe, themes=themes, outcome=outcome)

    def tokens(self, requests: Sequence[str]) -> list[list[int]]:
        """Each request in the words of the base's own prompts.

        Raises:
            InputError: One leaves no room for an answer.
        """
        tokens = tokenise(
            pd.DataFrame({"request": requests}, dtype=object),
            self.tokenizer,
            wrapping=wrapping_of(self.recipe.base, self.tokenizer),
            special_tokens=self.recipe.base.special_tokens,
            beginning=self.answer.bos,
        )["request"]
        found = [[*self.answer.bos, *ids.tolist()] for ids in tokens]
        if found and (longest := max(map(len, found))) > self.room:
            what = f"a request of {longest} tokens and an answer of {self.recipe.max_tokens} do not fit its base"
            raise InputError(Problem("teacher", what, "lower teacher.max_tokens, or choose a base of longer context"))
        return found


@dataclass(frozen=True)
class LocalTeacher:
    """A base that is asked for rationales."""

    asking: Asking
    base: Base
    opener: Opener
    cache: AnswerCache

    @classmethod
    def of(cls, recipe: BaseTeacherRecipe, folder: Path, *, proof: Path, cache: AnswerCache) -> "LocalTeacher":
        """Load the base."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        base = load(folder, precision=recipe.precision, device=device)
        asking = Asking.of(recipe, folder)
        together = BaseProof.model_validate_json((proof / PROOF).read_bytes()).together
        return cls(asking, base, opener_of(base.model, pad_token=asking.answer.end, together=together), cache)

    @property
    def recipe(self) -> BaseTeacherRecipe:
        """What is asked of whom."""
        return self.asking.recipe

    def answers(
        self, assignment: Assignment, places: Sequence[int], *, attempt: int
    ) -> Iterator[tuple[int, KeptAnswer, bool]]:
        """What the base says to each of these questions, and whether it had to be asked."""
        requests = {place: self.asking.request(assignment.questions[place], assignment.themes) for place in places}
        keys = {place: self._key(request, assignment.questions[place], attempt) for place, request in requests.items()}
        known = {place: self.cache.find(key) for place, key in keys.items()}
        yield from ((place, kept, False) for place, kept in known.items() if kept is not None)
        unknown = [place for place, kept in known.items() if kept is None]
        prompts = dict(zip(unknown, self.asking.tokens([requests[place] for place in unknown]), strict=True))
        for group in self._batches(prompts):
            seeds = [_seed(assignment.questions[place]) for place in group]
            for place, said in zip(
                group, self._written([prompts[each] for each in group], seeds, attempt), strict=True
            ):
                yield place, self.cache.keep(keys[place], said), True

    def _key(self, request: str, question: Question, attempt: int) -> str:
        """Hash of what determines the answer."""
        recipe = {name: value for name, value in self.recipe.content().items() if name not in READ_LATER}
        return digest_of({**recipe, "request": request, "participant": _seed(question), "attempt": attempt})

    def _batches(self, prompts: dict[int, list[int]]) -> Iterator[list[int]]:
        """By length, as many as a base's cache has room for."""
        places = sorted(prompts, key=lambda place: len(prompts[place]))
        longest = self.recipe.max_tokens + max(map(len, prompts.values()), default=0)
        size = max(1, tokens_per_batch(self.base.model) // longest)
        yield from (places[start : start + size] for start in range(0, len(places), size))

    @torch.inference_mode()
    def _written(self, prompts: list[list[int]], seeds: list[int], attempt: int) -> list[KeptAnswer]:
        """One batch: what each row reasons, and the label that it holds for likelier then."""
        recipe, session = self.recipe, self.opener.begin(prompts, prefix=())
        listeners = [Answering(self.base.tokenizer, self.asking.answer, recipe.max_tokens) for _ in prompts]
        sampling = Sampling(recipe.temperature, recipe.top_p, f"teacher|{recipe.seed}|{attempt}")
        n_steps = recipe.max_tokens + self.asking.answer.longest
        session.write(sampling.choice(seeds, n_steps=n_steps) if recipe.temperature else greedy, listeners)
        lines = [[] if listener.at_label else listener.line_to_force for listener in listeners]
        risks = read_labels(session, lines, self.asking.answer).p_yes
        return [
            KeptAnswer(
                answer=TeacherReply(
                    evidence=(),
                    reasoning=self._reasoning(listener),
                    answer=WORDS[bool(risk >= 0.5)],
                    confidence=round(float(max(risk, 1 - risk)), 3),  # beyond, rows that go together differ
                ),
                prompt_tokens=len(prompt),
                completion_tokens=len(listener.tokens),
                is_schema_enforced=False,
            )
            for prompt, listener, risk in zip(prompts, listeners, risks, strict=True)
        ]

    def _reasoning(self, listener: Answering) -> str:
        """The text without its thought; of one that was cut off the whole sentences."""
        if listener.validity is Validity.THOUGHT_CUT_OFF:
            return ""
        text: str = self.base.tokenizer.decode(listener.tokens, skip_special_tokens=True).strip()
        if self.asking.answer.thought is not None:
            text = text.rpartition(self.asking.answer.thought.closer)[2].strip()
        if listener.validity is Validity.TRUNCATED:
            text = " ".join(SENTENCE_END[NEWEST].split(f"{text} …")[:-1])
        return text


def _seed(question: Question) -> int:
    """A number that follows from participant and supervision alone."""
    return int.from_bytes(hashlib.sha256(f"{question.supervision}|{question.case.key}".encode()).digest()[:8])
