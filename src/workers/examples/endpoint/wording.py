"""What a language model is asked as a teacher, in our own versioned words, and what counts as an endpoint's answer.

The words are the same whether or not a server enforces the JSON schema; a changed word is a new version of the recipe.
"""

import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from workers.contract.errors import InputError, Problem
from workers.contract.recipes.teaching import EndpointTeacherRecipe, LanguageTeacherRecipe, Supervision
from workers.examples.targets import DELIMITER, WORDS

Messages = list[dict[str, str]]

SYSTEM = (
    "You write rationales for a research study of risk prediction. You are shown what was recorded of one participant "
    "up to an index day, one numbered finding a line, and a yes-or-no question about the time after it. "
    "Reason from these findings alone. Name them in the record's own words, with numbers, levels and times as written "
    "there; invent nothing. Nothing that came after the index day is known to you, so write nothing about it.\n"
    "Reply with one JSON object and nothing else, with these fields in this order: "
    '"evidence", a list of {"id": number of the finding, "claim": what it says about risk}; '
    '"reasoning", a text; "answer", "yes" or "no"; "confidence", a number from 0 to 1.'
)
FORMS = {
    Supervision.FREE_FORM: (
        "The reasoning is one paragraph of at most {max_words} words that weighs the findings which raise risk against "
        "those which lower it. {closing}"
    ),
    Supervision.STEP_BY_STEP: (
        "The reasoning is a list of numbered steps, `1. … 2. …`, of at most {max_words} words in all: {themes}, and "
        "last the overall judgement. {closing}"
    ),
}
CLOSING = "It ends with `Overall, the risk is raised.` or `Overall, the risk is low.`, and holds no answer line."
JUDGE = "Judge for yourself."
ARGUE = (
    "The answer is {word}: give this answer, argue for it from the findings, say what speaks against it, and never "
    "write that the answer was given."
)
PLAIN = (
    "Record of a study participant: {findings}\n\nQuestion: {question}\n\n"
    "Explain the risk by the findings of this record alone, in its own words, with its numbers; invent nothing. "
    "{form} {access}"
)

# By version: a sentence ends before white space, but not behind the number of a step. The first took every digit for
# such a number: a finding that ended in one was lost to the question.
SENTENCE_END = {
    1: re.compile(r"(?<=[.!?])(?<!\s\d\.)(?<!^\d\.)\s+"),
    2: re.compile(r"(?<=[.!?])(?<![.!?:;]\s\d\.)(?<!^\d\.)\s+"),
}
NEWEST = max(SENTENCE_END)
ANSWER_LINE = re.compile(rf"{DELIMITER.rstrip(':')}\s*:", re.IGNORECASE)
# What reasoning models write before they answer, where the server does not take it away.
END_OF_THOUGHT = "</think>"


class Evidence(BaseModel):
    """One finding that the answer rests on, by its number in the record."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"additionalProperties": False})

    id: int
    claim: str


class TeacherReply(BaseModel):
    """What the teacher replied, as the schema demands it; unknown fields are dropped."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"additionalProperties": False})

    evidence: tuple[Evidence, ...]
    reasoning: str
    answer: str = Field(json_schema_extra={"enum": list(WORDS.values())})
    confidence: float = Field(ge=0, le=1, allow_inf_nan=False)

    @field_validator("answer")
    @classmethod
    def _is_yes_or_no(cls, value: str) -> str:
        word = value.strip().strip(".").lower()
        if word not in WORDS.values():
            raise ValueError("neither yes nor no")
        return word

    @property
    def says_event(self) -> bool:
        """Whether it is yes."""
        return self.answer == WORDS[True]

    def cites_only(self, n_findings: int) -> bool:
        """Whether every id is the number of a finding."""
        return all(1 <= evidence.id <= n_findings for evidence in self.evidence)


# The form of OpenAI's API, which vLLM, llama.cpp's server and others share.
RESPONSE_FORMAT: Mapping[str, object] = {
    "type": "json_schema",
    "json_schema": {"name": "rationale", "strict": True, "schema": TeacherReply.model_json_schema()},
}


def check_version(recipe: EndpointTeacherRecipe) -> None:
    """Refuse a recipe whose words nobody wrote.

    Raises:
        InputError: Its version is unknown.
    """
    if recipe.version not in SENTENCE_END:
        known = ", ".join(map(str, SENTENCE_END))
        raise InputError(Problem("teacher.version", f"{recipe.version} is unknown", f"use one of {known}"))


def findings_of(record: str, *, version: int) -> tuple[list[str], str]:
    """A prompt as its findings, one a sentence, and its last sentence, the question."""
    *findings, question = SENTENCE_END[version].split(record.strip())
    return findings, question


def messages_of(
    record: str, supervision: Supervision, recipe: EndpointTeacherRecipe, *, themes: Sequence[str], outcome: bool | None
) -> Messages:
    """The two messages of one request.

    Args:
        record: The prompt that the student reads.
        themes: Of the numbered steps, in order.
        outcome: The recorded label, for a conditioned teacher; null for every other.
    """
    findings, question = findings_of(record, version=recipe.version)
    numbered = "\n".join(f"{number}. {finding}" for number, finding in enumerate(findings, start=1))
    form = FORMS[supervision].format(max_words=recipe.max_words, themes=", ".join(themes), closing=CLOSING)
    access = JUDGE if outcome is None else ARGUE.format(word=WORDS[outcome])
    user = f"Record:\n{numbered or 'nothing recorded'}\n\nQuestion: {question}\n\n{form} {access}"
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": user}]


def request_of(
    record: str, supervision: Supervision, recipe: LanguageTeacherRecipe, *, themes: Sequence[str], outcome: bool | None
) -> str:
    """What a base is asked that writes text alone, in few words: a small one follows no more; arguments as above."""
    findings, question = findings_of(record, version=NEWEST)
    form = FORMS[supervision].format(max_words=recipe.max_words, themes=", ".join(themes), closing=CLOSING)
    access = JUDGE if outcome is None else ARGUE.format(word=WORDS[outcome])
    return PLAIN.format(findings=" ".join(findings), question=question, form=form, access=access)


def parse_answer(content: str) -> TeacherReply | str:
    """The answer in a reply, or what is wrong with it; never a word of it."""
    said = content.rpartition(END_OF_THOUGHT)[2]
    try:
        return TeacherReply.model_validate_json(said[said.find("{") : said.rfind("}") + 1])
    except ValidationError as error:
        kinds = {problem["type"] for problem in error.errors(include_input=False, include_context=False)}
    return "broken JSON" if "json_invalid" in kinds else "missing or wrong fields"


def tidy(reasoning: str, *, max_words: int, version: int = NEWEST) -> str:
    """A rationale on one line, without an answer line, cut at the last end of a sentence within `max_words`.

    A first sentence that is too long is cut inside; empty where nothing stands before the answer line.
    """
    sentences = SENTENCE_END[version].split(" ".join(ANSWER_LINE.split(reasoning, maxsplit=1)[0].split()))
    kept: list[str] = []
    for sentence in sentences:
        if len(" ".join([*kept, sentence]).split()) > max_words:
            break
        kept.append(sentence)
    return " ".join(kept or sentences[0].split()[:max_words])
