"""One rationale from a chat endpoint: asked, checked against the record, asked again with another seed, or given up.

What was answered before is never asked again; nothing here is logged, and a failure is a kind, never a text.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from workers.contract.recipes.recipe import digest_of
from workers.contract.recipes.teaching import EndpointTeacherRecipe, LanguageTeacherRecipe, Supervision
from workers.examples.audit.grounding import ground
from workers.examples.audit.words import Vocabulary
from workers.examples.endpoint.cache import AnswerCache, KeptAnswer
from workers.examples.endpoint.client import EndpointClient, Failure
from workers.examples.endpoint.wording import TeacherReply, findings_of, messages_of, parse_answer, tidy
from workers.examples.facts import Case

MAX_REASKED = 2  # after an answer that is none
MAX_REGENERATED = 2  # after one that the record does not support
MAX_ASKED = 1 + MAX_REASKED + MAX_REGENERATED
SEEDS = 2**31  # the range that servers accept


@dataclass(frozen=True, slots=True)
class Question:
    """One rationale to be written; `record` is the prompt that the student reads."""

    case: Case
    supervision: Supervision
    record: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A valid answer as a rationale; precision: of its facts, in [0, 1], 0 where it claims none."""

    text: str
    says_event: bool
    is_grounded: bool
    precision: float

    @property
    def support(self) -> tuple[bool, float]:
        """By what the better of two drafts is told."""
        return self.is_grounded, self.precision


@dataclass(slots=True)
class Asked:
    """What became of one question, and what it cost; cached answers count with what they cost then.

    draft: the answer that counts; null where none was valid. failure: why there is none, or why to stop asking
    anybody. n_sent: requests of this run.
    """

    draft: Draft | None = None
    failure: Failure | None = None
    n_sent: int = 0
    n_regenerated: int = 0
    costs: Counter[str] = field(default_factory=Counter)


def is_to_regenerate(draft: Draft, question: Question, recipe: LanguageTeacherRecipe) -> bool:
    """A filtered teacher's wrong answer is not kept, so another wording of it is of no use."""
    is_for_nothing = recipe.label_access == "filtered" and draft.says_event != question.case.has_event
    return recipe.ungrounded == "regenerate" and not draft.is_grounded and not is_for_nothing


@dataclass(frozen=True)
class EndpointTeacher:
    """Asks a model for rationales; safe for threads."""

    recipe: EndpointTeacherRecipe
    client: EndpointClient
    cache: AnswerCache
    vocabulary: Vocabulary
    themes: Sequence[str]

    def write(self, question: Question) -> Asked:
        """The best answer within the tries: a grounded one or, where none is, the one with the most support."""
        written = Asked()
        requests = [self._request(question, attempt) for attempt in range(MAX_ASKED)]
        keys = [self._key(request) for request in requests]
        known = {attempt: found for attempt, key in enumerate(keys) if (found := self.cache.find(key)) is not None}
        n_invalid = n_ungrounded = 0
        for attempt, (request, key) in enumerate(zip(requests, keys, strict=True)):
            if attempt not in known and attempt < max(known, default=-1):
                n_invalid += 1  # an earlier run asked it, got nothing valid and went on
                continue
            kept = known[attempt] if attempt in known else self._ask(request, key, question, written)
            if isinstance(kept, Failure):
                written.failure = kept
                n_invalid += 1
                if kept.ends != "answer" or n_invalid > MAX_REASKED:
                    break
                continue
            add_cost(written, kept)
            draft = self._draft(kept.answer, question)
            written.draft = max(filter(None, (written.draft, draft)), key=lambda draft: draft.support)
            if not is_to_regenerate(draft, question, self.recipe):
                break
            n_ungrounded += 1
            if n_ungrounded > MAX_REGENERATED:
                break
        written.n_regenerated = min(n_ungrounded, MAX_REGENERATED)
        if written.draft is not None and written.failure is not None and written.failure.ends != "run":
            written.failure = None
        return written

    def _ask(self, request: dict[str, object], key: str, question: Question, written: Asked) -> KeptAnswer | Failure:
        written.n_sent += 1
        reply = self.client.ask(request)
        if isinstance(reply, Failure):
            return reply
        answer = parse_answer(reply.content)
        if isinstance(answer, TeacherReply):
            fault = self._fault(answer, question)
        else:
            fault = "cut at max_tokens" if reply.is_cut else answer
        if fault or isinstance(answer, str):
            written.costs["prompt_tokens"] += reply.prompt_tokens
            written.costs["completion_tokens"] += reply.completion_tokens
            return Failure(fault, "answer")
        kept = KeptAnswer(
            answer=answer,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            is_schema_enforced=reply.is_schema_enforced,
        )
        return self.cache.keep(key, kept)

    def _fault(self, answer: TeacherReply, question: Question) -> str:
        """What is wrong with a well-formed answer; empty where nothing is."""
        if not self._tidied(answer):
            return "no reasoning"
        if self.recipe.label_access == "conditioned" and answer.says_event != question.case.has_event:
            return "not the answer that was asked for"
        return ""

    def _draft(self, answer: TeacherReply, question: Question) -> Draft:
        text = self._tidied(answer)
        grounding = ground(text, question.case.facts, vocabulary=self.vocabulary)
        findings, _ = findings_of(question.record, version=self.recipe.version)
        is_grounded = grounding.is_grounded and answer.cites_only(len(findings))
        return Draft(text, answer.says_event, is_grounded, grounding.precision or 0.0)

    def _tidied(self, answer: TeacherReply) -> str:
        return tidy(answer.reasoning, max_words=self.recipe.max_words, version=self.recipe.version)

    def _request(self, question: Question, attempt: int) -> dict[str, object]:
        outcome = question.case.has_event if self.recipe.label_access == "conditioned" else None
        return {
            "model": self.recipe.model,
            "messages": messages_of(
                question.record, question.supervision, self.recipe, themes=self.themes, outcome=outcome
            ),
            "temperature": self.recipe.temperature,
            "max_tokens": self.recipe.max_tokens,
            "seed": (self.recipe.seed * MAX_ASKED + attempt) % SEEDS,
        }

    def _key(self, request: dict[str, object]) -> str:
        """Hash of what determines the answer; whether the server enforces the schema is its business, like its GPU.

        A version that puts a question in the same words finds what was answered to an earlier one.
        """
        return digest_of({**request, "revision": self.recipe.revision, "version": 1})


def add_cost(written: Asked, kept: KeptAnswer) -> None:
    """Enter what an answer cost when it was given."""
    written.costs["prompt_tokens"] += kept.prompt_tokens
    written.costs["completion_tokens"] += kept.completion_tokens
    written.costs["n_schema_enforced"] += kept.is_schema_enforced
