"""What people and models write by hand: an annotation sheet with its key, a teacher's reply."""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from fuzz.conftest import Fuzz
from orchestrator.audit.ratings import read_key, read_ratings
from support.cohorts.histories import LEXICON_OF_SIX
from support.fuzz.guard import CANARY
from support.fuzz.mutations import Draft, drafts, spoiled_bytes, spoiled_json
from workers.contract.answers.audit import ANSWER_COLUMNS, ID_COLUMN, KEY_COLUMNS, SHEET_ITEMS
from workers.contract.recipes.teaching import EndpointTeacherRecipe, Supervision
from workers.examples.audit.words import vocabulary_of
from workers.examples.endpoint.cache import AnswerCache, KeptAnswer
from workers.examples.endpoint.client import EndpointClient, Failure, Reply, read_reply
from workers.examples.endpoint.teacher import EndpointTeacher, Question
from workers.examples.facts import Case
from workers.examples.history import Item, facts_of_items

REASONING = f"1. Hypertension 4 y ago raises risk. 2. HbA1c 7.5 % is high. {CANARY} Overall, the risk is raised."
CONTENT = {
    "evidence": [{"id": 1, "claim": "bears on risk"}],
    "reasoning": REASONING,
    "answer": "yes",
    "confidence": 0.7,
}
REPLY = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 7},
}
ITEMS = [Item("AGE", 72.0), Item("SEX", 1.0), Item("I10", None, 1, 4.0, 4.0), Item("HBA1C", 7.5, 2, 3.0, 1.0)]


@pytest.fixture
def key(folder: Path) -> Path:
    rows = [
        (f"{rater}x{n:02d}", rater, "rated" if n else "training", n, Supervision.FREE_FORM, n % 2, "blind")
        for rater in (1, 2)
        for n in range(6)
    ]
    path = folder / "key.csv"
    pd.DataFrame(rows, columns=list(KEY_COLUMNS)).to_csv(path, index=False)
    return path


def test_a_sheet_and_its_key_are_read_or_refused(fuzzed: Fuzz, key: Path) -> None:
    ids = [f"1x{n:02d}" for n in range(6)]
    sheet = pd.DataFrame({ID_COLUMN: ids, "participant": f"{CANARY} of 75", "rationale": f"[1] {CANARY}"})
    for name in ANSWER_COLUMNS:
        choices = {item.name: item.choices for item in SHEET_ITEMS}.get(name, (CANARY,))
        sheet[name] = choices[0]
    texts = [sheet.to_csv(index=False).encode(), sheet.to_csv(index=False, sep=";").encode(), key.read_bytes()]
    path, keys = key.with_name("sheet.csv"), read_key(key)

    def read(draft: Draft) -> None:
        which, changes = draft
        path.write_bytes(spoiled_bytes(texts[which], changes))
        if which == len(texts) - 1:
            read_key(path)
        else:
            read_ratings([path], keys)

    read((0, b""))
    read((1, b""))
    read((2, b""))
    fuzzed("annotation sheet and key", drafts(len(texts)), read, files=True)


class Says(EndpointClient):
    """A server that says one thing, whatever it is asked."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def ask(self, request: Mapping[str, object]) -> Reply | Failure:
        return read_reply(self.body, is_schema_enforced=False)


class Forgets(AnswerCache):
    """A cache that keeps nothing."""

    def find(self, key: str) -> KeptAnswer | None:
        return None

    def keep(self, key: str, answer: KeptAnswer) -> KeptAnswer:
        return answer


def test_a_teacher_s_reply_is_a_rationale_or_a_kind_of_failure(fuzzed: Fuzz, folder: Path) -> None:
    recipe = EndpointTeacherRecipe(kind="endpoint", model="m")
    vocabulary = vocabulary_of(LEXICON_OF_SIX)
    case = Case("key", tuple(facts_of_items(ITEMS, LEXICON_OF_SIX)), True)
    record = "Man, age 70. HbA1c 7.5 %, high. Hypertension, 4 y ago. Dementia within five years?"

    def body_of(content: str) -> bytes:
        reply = json.loads(json.dumps(REPLY))
        reply["choices"][0]["message"]["content"] = content
        return json.dumps(reply).encode()

    def read(draft: Draft) -> None:
        which, changes = draft
        match which:
            case 0:
                body = spoiled_bytes(body_of(json.dumps(CONTENT)), changes)
            case 1:
                body = body_of(json.dumps(spoiled_json(CONTENT, changes)))
            case 2:
                body = json.dumps(spoiled_json(json.loads(body_of(json.dumps(CONTENT))), changes)).encode()
            case _:
                said = spoiled_bytes(REASONING.encode(), changes).decode(errors="replace")
                body = body_of(json.dumps(CONTENT | {"reasoning": said}))
        teacher = EndpointTeacher(recipe, Says(body), Forgets(folder), vocabulary, LEXICON_OF_SIX.themes)
        written = teacher.write(Question(case, Supervision.FREE_FORM, record))
        assert (written.draft is None) == (written.failure is not None)
        assert written.failure is None or CANARY not in written.failure.kind
        assert written.draft is None or "\n" not in written.draft.text

    fuzzed("teacher's reply", drafts(4), read)
