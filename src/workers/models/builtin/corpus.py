"""What the clinical bases read before any study: endless records of people who never were, each with a text after it.

Every value is drawn from the lexicon by itself, never by the cohort generator, and every answer is a coin flip that the
text before it argues for. So a base learns the words and forms of all supervisions, and which facts textbooks call
raising or lowering, as any language model has read them; no outcome and nobody's risk is in it.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from workers.cohort.adrd.lexicon import ADRD_LEXICON
from workers.cohort.lexicon import Band, Concept
from workers.contract.recipes.teaching import Supervision, TemplateTeacherRecipe
from workers.examples.facts import Case
from workers.examples.history import Item, facts_of_items, knowledge_of, write_history
from workers.examples.targets import target_text
from workers.examples.template.teacher import TemplateTeacher
from workers.models.builtin.pretraining import Document

# Words of a record; studies of the clinical bases use 70.
FEWEST_WORDS, MOST_WORDS = 40, 70
IS_RECORDED_RATE = {"number": 0.85, "flag": 0.7}
HISTORY_YEARS = 12.0
# Nobody has more than two copies of a gene.
HIGHEST = {"APOE_E4": 2.0}


@dataclass(frozen=True)
class Continuation:
    """What follows a record: a target of a supervision, or, without one, some of its facts."""

    share: float
    supervision: Supervision | None = None
    grammar: str = "terse"
    max_words: int = 32

    @property
    def teacher(self) -> TemplateTeacherRecipe:
        """Who writes it; conditioned on the coin, never on an outcome."""
        return TemplateTeacherRecipe.model_validate(
            {"label_access": "conditioned", "grammar": self.grammar, "max_words": self.max_words}
        )


FREE, STEPS = Supervision.FREE_FORM, Supervision.STEP_BY_STEP
CLINICAL = (
    Continuation(0.2),
    Continuation(0.2, Supervision.LABEL_ONLY),
    Continuation(0.24, FREE),
    Continuation(0.24, STEPS),
    Continuation(0.06, FREE, grammar="varied", max_words=40),
    Continuation(0.06, STEPS, grammar="varied", max_words=40),
)
# Three in four are long arguments before the answer line.
REASONING = (
    Continuation(0.1),
    Continuation(0.1, Supervision.LABEL_ONLY),
    Continuation(0.05, STEPS),
    Continuation(0.25, FREE, grammar="varied", max_words=80),
    Continuation(0.5, STEPS, grammar="varied", max_words=80),
)


def documents(endings: tuple[Continuation, ...], *, seed: int, are_whole: bool = False) -> Iterator[Document]:
    """Endless documents, the endings drawn by lot; the same seed gives the same ones.

    Args:
        are_whole: Leave nothing out of the records; else a number of words by lot, and the least telling items go.
    """
    source = random.Random(seed)
    knowledge = knowledge_of(ADRD_LEXICON)
    teachers = {ending: TemplateTeacher(ending.teacher, 0, knowledge) for ending in endings}
    shares = [ending.share for ending in endings]
    for number in itertools.count():
        items = invented_record(source)
        coin = source.random() < 0.5
        case = Case(key=f"{seed}|{number}", facts=tuple(facts_of_items(items, ADRD_LEXICON)), has_event=coin)
        (ending,) = source.choices(endings, weights=shares)
        n_words = source.randint(FEWEST_WORDS, MOST_WORDS)
        prompt = write_history(items, ADRD_LEXICON, max_words=None if are_whole else n_words).text
        if ending.supervision is None:
            yield Document(prompt, _noted(case, source))
        else:
            yield Document(prompt, target_text(teachers[ending].write(case, ending.supervision), has_event=coin))


def invented_record(source: random.Random) -> list[Item]:
    """Codes of the lexicon with values, each drawn by itself; events lie within `HISTORY_YEARS` of the index."""
    items = []
    for concept in ADRD_LEXICON.concepts:
        if source.random() >= _recorded_rate(concept):
            continue
        if concept.kind == "event":
            years = source.uniform(0, HISTORY_YEARS)
            n = source.choice([1, 1, 1, 2, 3])
            items.append(Item(concept.code, n=n, first_years=years, last_years=source.uniform(0, years)))
        else:
            items.append(Item(concept.code, _value(concept, source)))
    return items


@cache
def _recorded_rate(concept: Concept) -> float:
    """Numbers and flags are mostly there; of events, about three that bear on risk and three that don't."""
    if concept.kind != "event":
        return 1.0 if concept.code in {"AGE", "SEX"} else IS_RECORDED_RATE[concept.kind]
    alike = [other for other in ADRD_LEXICON.concepts if other.kind == "event" and _bears(other) == _bears(concept)]
    return 3 / len(alike)


def _bears(concept: Concept) -> bool:
    return concept.points != 0


def _value(concept: Concept, source: random.Random) -> float:
    """1 or 0 of a flag; of a number, a band by lot and a value in it."""
    if concept.kind == "flag":
        return float(source.random() < 0.5)
    low, high = source.choice(_ranges(concept.bands, step=concept.step))
    return min(source.uniform(low, high), HIGHEST.get(concept.code, high))


@cache
def _ranges(bands: tuple[Band, ...], *, step: float) -> list[tuple[float, float]]:
    """Lower and upper end of each band; the open ones are three steps wide, and what is never negative stays so."""
    bounds = [band.below for band in bands if band.below is not None]
    lowest = bounds[0] - 3 * step
    ends = [max(0.0, lowest) if bounds[0] > 0 else lowest, *bounds, bounds[-1] + 3 * step]
    return list(itertools.pairwise(ends))


def _noted(case: Case, source: random.Random) -> str:
    facts = [fact.words for fact in case.facts]
    chosen = source.sample(facts, k=min(len(facts), source.randint(1, 5)))
    return f"Noted: {', '.join(chosen)}."
