"""The automatic audit: nothing is held against an honest rationale, and each fault moves its own measure."""

import pandas as pd
import pytest

from support.places import FRAMINGHAM
from support.studies.orders import COHORT
from workers.cohort.adrd.generate import generate_adrd
from workers.cohort.adrd.lexicon import ADRD_LEXICON
from workers.cohort.framingham import load_framingham
from workers.cohort.lexicon import Concept, Lexicon
from workers.contract.answers.audit import Measure, RationaleAudit
from workers.contract.recipes.cohorts import SyntheticCohort
from workers.contract.recipes.teaching import Supervision, TemplateTeacherRecipe
from workers.examples.audit.grounding import Grounding, ground
from workers.examples.audit.phrases import LEAKAGE_PHRASES
from workers.examples.audit.study import Written, audit
from workers.examples.audit.style import repeated, self_bleu, style_of
from workers.examples.audit.words import Vocabulary, vocabulary_of
from workers.examples.exam_facts import EXAM_KNOWLEDGE, cases_of, facts_of
from workers.examples.facts import Case, Fact, Knowledge
from workers.examples.history import Item, cases_of_records, facts_of_items, knowledge_of
from workers.examples.template.teacher import TemplateTeacher, fit_threshold

N_CASES = 200
RATIONALES = (Supervision.FREE_FORM, Supervision.STEP_BY_STEP)
ADRD = vocabulary_of(ADRD_LEXICON)
EXAM = vocabulary_of(None)
FACT_FAULTS = {Measure.FABRICATED, Measure.CONTRADICTED, Measure.WRONG_VALUE, Measure.WRONG_TIME}


class Source:
    """Cases of one cohort, and what a teacher and the audit know of it."""

    def __init__(self, cases: list[Case], labels: pd.DataFrame, knowledge: Knowledge, vocabulary: Vocabulary) -> None:
        self.cases = cases
        self.labels = labels
        self.knowledge = knowledge
        self.vocabulary = vocabulary

    def audit(self, supervision: Supervision, **changes: object) -> RationaleAudit:
        recipe = TemplateTeacherRecipe.model_validate({"grammar": "varied", "max_words": 140, **changes})
        teacher = TemplateTeacher(recipe, fit_threshold(self.cases), self.knowledge)
        texts = tuple(teacher.write(case, supervision) for case in self.cases)
        written = Written(
            supervision=supervision,
            teacher="",
            label_access="blind",
            vocabulary=self.vocabulary,
            labels=self.labels,
            cases=tuple(self.cases),
            texts=texts,
        )
        return audit(written)


@pytest.fixture(scope="module")
def invented() -> Source:
    cohort = generate_adrd(SyntheticCohort(source="synthetic_adrd", n_participants=600))
    labels = cohort.labels.head(N_CASES)
    is_wanted = [row < N_CASES for row in range(len(cohort.labels))]
    cases = cases_of_records(cohort.records(), cohort.labels, ADRD_LEXICON, is_wanted=is_wanted)
    return Source(cases, labels, knowledge_of(ADRD_LEXICON), ADRD)


@pytest.fixture(scope="module")
def exams() -> Source:
    cohort = load_framingham(FRAMINGHAM, COHORT)
    labels = cohort.labels.head(N_CASES)
    return Source(cases_of(cohort.values_at_index().head(N_CASES), labels), labels, EXAM_KNOWLEDGE, EXAM)


@pytest.fixture(scope="module")
def few(invented: Source) -> Source:
    return Source(invented.cases[:150], invented.labels.head(150), invented.knowledge, ADRD)


@pytest.fixture(scope="module")
def honest_of_few(few: Source) -> dict[Supervision, RationaleAudit]:
    return {supervision: few.audit(supervision) for supervision in RATIONALES}


def share(found: RationaleAudit, measure: Measure) -> float:
    tally = found.tallies[measure]
    return tally.n / tally.total if tally.total else 0.0


@pytest.mark.parametrize("max_words", [32, 140])
@pytest.mark.parametrize("grammar", ["terse", "varied"])
@pytest.mark.parametrize("supervision", RATIONALES)
@pytest.mark.parametrize("source", ["invented", "exams"])
def test_every_fact_of_an_honest_teacher_is_supported(
    source: str, supervision: Supervision, grammar: str, max_words: int, request: pytest.FixtureRequest
) -> None:
    cohort: Source = request.getfixturevalue(source)
    found = cohort.audit(supervision, grammar=grammar, max_words=max_words)
    assert found.n_rationales == N_CASES
    assert found.tallies[Measure.SUPPORTED].total > N_CASES / 2
    assert share(found, Measure.SUPPORTED) == 1.0
    assert {measure: found.tallies[measure].n for measure in FACT_FAULTS} == dict.fromkeys(FACT_FAULTS, 0)
    assert found.tallies[Measure.VAGUE].n == found.tallies[Measure.LEAKING].n == 0
    assert found.tallies[Measure.CONSISTENT].total == N_CASES  # every judgement is heard
    directed = found.tallies[Measure.RIGHT_DIRECTION]
    assert directed.n == directed.total
    assert directed.total > 0 or (grammar, supervision) == ("terse", Supervision.STEP_BY_STEP)


@pytest.mark.parametrize("supervision", RATIONALES)
@pytest.mark.parametrize(
    ("knob", "measure", "sign"),
    [
        ("fabricated_rate", Measure.FABRICATED, 1),
        ("vagueness_rate", Measure.VAGUE, 1),
        ("wrong_direction_rate", Measure.RIGHT_DIRECTION, -1),
        ("omission_rate", Measure.OMITTED, 1),
    ],
)
def test_a_quality_knob_moves_its_measure_and_no_other(
    few: Source,
    honest_of_few: dict[Supervision, RationaleAudit],
    supervision: Supervision,
    knob: str,
    measure: Measure,
    sign: int,
) -> None:
    honest, spoilt = honest_of_few[supervision], few.audit(supervision, **{knob: 0.4})
    moved = share(spoilt, measure) - share(honest, measure)
    assert sign * moved > 0.1
    # What a fabricated or vague fact stands in for is omitted, and a fabricated one is not supported.
    follows = {Measure.OMITTED, Measure.SUPPORTED, Measure.REPEATED, measure}
    for other in set(Measure) - follows:
        assert share(spoilt, other) == share(honest, other), other
    if knob != "fabricated_rate":
        assert share(spoilt, Measure.SUPPORTED) == 1.0
    if knob == "wrong_direction_rate":
        assert share(spoilt, Measure.OMITTED) == pytest.approx(share(honest, Measure.OMITTED), abs=0.02)


RECORD = (
    Item("AGE", 75.0),
    Item("SEX", 0.0),
    Item("I63.9", first_years=3.2, last_years=3.2),
    Item("SYSBP", 150.0),
    Item("SMOKING", 0.0),
    Item("HBA1C", 5.5),
)
FACTS = facts_of_items(RECORD, ADRD_LEXICON)
TEXT = (
    "A woman of 75. Raising risk: stroke (3 y ago), high systolic pressure 150. Lowering risk: non-smoker. "
    "Overall risk is raised."
)


def faults(grounding: Grounding) -> set[str]:
    """Every kind of fault that a text has."""
    named = {
        "fabricated": any(one.is_fabricated for one in grounding.judged),
        "contradicted": any(one.is_contradicted for one in grounding.judged),
        "value": any(one.has_wrong_value for one in grounding.judged),
        "time": any(one.has_wrong_time for one in grounding.judged),
        "direction": any(one.is_right_direction is False for one in grounding.judged),
        "leak": grounding.reading.n_leaks > 0,
        "vague": grounding.reading.n_vague > 0,
        "low": grounding.reading.judgement is False,
    }
    return {name for name, is_there in named.items() if is_there}


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("pressure 150", "pressure 190", "value"),
        ("of 75", "of 85", "value"),
        ("3 y ago", "8 y ago", "time"),
        ("3 y ago", "in 2 years", "time"),
        ("3 y ago", "2 years later", "time"),
        ("3 y ago", "in 2031", "time"),
        ("stroke (3 y ago)", "no stroke", "contradicted"),
        ("high systolic", "normal systolic", "contradicted"),
        ("non-smoker", "stroke is not recorded", "contradicted"),
        ("A woman", "A man", "contradicted"),
        ("stroke (3 y ago)", "stroke (3 y ago), diabetes", "fabricated"),
        ("stroke (3 y ago)", "stroke (3 y ago), heart failure", "fabricated"),
        ("Lowering risk", "Adding to risk", "direction"),
        ("Raising risk", "What speaks against it", "direction"),
        ("Overall", "She went on to need care. Overall", "leak"),
        ("non-smoker", "non-smoker, some findings", "vague"),
        ("risk is raised", "risk is low", "low"),
    ],
)
def test_an_injected_fault_is_found_and_no_other(old: str, new: str, fault: str) -> None:
    assert faults(ground(TEXT, FACTS, vocabulary=ADRD)) == set()
    spoilt = TEXT.replace(old, new)
    assert spoilt != TEXT
    expected = {fault} | ({"vague"} if fault == "leak" else set())
    assert faults(ground(spoilt, FACTS, vocabulary=ADRD)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "She is a 75-year-old woman who had a stroke about 3 years ago, which increases her risk.",
        "3 years ago she had a stroke.",
        "Systolic pressure 150, high, is a risk factor.",
        "Her systolic pressure is 150.",
        "She is not a smoker and has no diabetes, without any history of head injury.",
        "Diabetes is associated with dementia in general.",
        "Word recall was not recorded.",
        "Not recorded: pair errors, word recall.",
        "Strokes harm the brain; HbA1c was 5.5 %, normal.",
    ],
)
def test_free_wording_of_what_is_recorded_has_no_fault(text: str) -> None:
    assert faults(ground(text, FACTS, vocabulary=ADRD)) <= {"vague"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("An 80-year-old woman.", "value"),
        ("She denies any stroke.", "contradicted"),
        ("Not recorded: systolic pressure.", "contradicted"),
        ("She is a smoker.", "contradicted"),
        ("Diabetes for years.", "fabricated"),
        ("8 years ago she had a stroke.", "time"),
        ("Stroke lowers her risk.", "direction"),
        ("The risk is not raised.", "low"),
    ],
)
def test_free_wording_of_what_is_wrong_has_its_fault(text: str, fault: str) -> None:
    assert faults(ground(text, FACTS, vocabulary=ADRD)) == {fault}


@pytest.mark.parametrize("phrase", LEAKAGE_PHRASES)
def test_every_leakage_phrase_is_heard(phrase: str) -> None:
    leaking = f"{TEXT} It is {phrase}, we see."
    assert "leak" in faults(ground(leaking, FACTS, vocabulary=ADRD))
    assert not ground(leaking, FACTS, vocabulary=ADRD).is_grounded


def test_a_text_is_grounded_only_where_it_claims_a_fact_and_the_record_has_all() -> None:
    assert ground(TEXT, FACTS, vocabulary=ADRD).is_grounded
    assert not ground("Overall risk is raised.", FACTS, vocabulary=ADRD).is_grounded
    assert not ground(TEXT.replace("150", "190"), FACTS, vocabulary=ADRD).is_grounded


def test_precision_is_the_share_of_supported_facts() -> None:
    spoilt = TEXT.replace("stroke (3 y ago)", "gout")
    assert ground(spoilt, FACTS, vocabulary=ADRD).precision == 0.75  # person, gout, pressure, non-smoker
    assert ground("", FACTS, vocabulary=ADRD).precision is None


def test_what_goes_unmentioned_of_the_strongest_is_counted_and_a_missing_remark_is_no_mention() -> None:
    grounding = ground("Raising risk: stroke. Not recorded: systolic pressure.", FACTS, vocabulary=ADRD)
    assert (grounding.n_strongest, grounding.n_omitted) == (3, 2)


def test_mechanisms_are_knowledge_even_where_they_name_a_disease() -> None:
    facts = facts_of_items((Item("METFORMIN", first_years=1.0, last_years=1.0),), ADRD_LEXICON)
    grounding = ground("Raising risk: metformin, as it treats diabetes.", facts, vocabulary=ADRD)
    assert grounding.precision == 1.0
    assert grounding.reading.n_knowledge == 1


def test_a_code_that_no_lexicon_knows_is_found_by_its_own_words() -> None:
    facts = [Fact("X99.1 rare thing", 1, "history", code="X99.1 rare thing", when="2 y ago")]
    assert ground("Raising risk: X99.1 rare thing (2 y ago).", facts, vocabulary=ADRD).precision == 1.0


def test_a_name_may_hold_punctuation_times_and_numbers_and_stand_for_two_codes() -> None:
    names = ("E. coli infection", "X (5 y ago)", "Diabetes, without complications", "a 2nd attack", "stroke", "stroke")
    concepts = tuple(
        Concept(code=f"C{place}", name=name, kind="event", points=-1 if place == 4 else 1)
        for place, name in enumerate(names)
    )
    lexicon = Lexicon(question="", concepts=concepts)
    facts = facts_of_items([Item(one.code, first_years=place + 0.2) for place, one in enumerate(concepts)], lexicon)
    text = (
        "Raising risk: E. coli infection (0 y ago); X (5 y ago) (1 y ago); stroke (5 y ago). Against: stroke (4 y ago)."
    )
    grounding = ground(text, facts, vocabulary=vocabulary_of(lexicon))
    assert (grounding.precision, len(grounding.judged)) == (1.0, 4)
    assert [one.is_right_direction for one in grounding.judged] == [True] * 4
    assert faults(ground(text.replace("(0 y ago)", "(9 y ago)"), facts, vocabulary=vocabulary_of(lexicon))) == {"time"}


def test_an_exam_says_how_many_cigarettes_a_day() -> None:
    facts = facts_of({"AGE": 50.0, "SEX": 1.0, "CURSMOKE": 1.0, "CIGPDAY": 20.0, "DIABETES": 0.0})
    assert faults(ground("Man of 50. He smokes 20 a day; no diabetes.", facts, vocabulary=EXAM)) == set()
    assert faults(ground("Man of 50. He smokes 40 a day.", facts, vocabulary=EXAM)) == {"value"}
    assert faults(ground("Man of 50. A smoker with diabetes.", facts, vocabulary=EXAM)) == {"contradicted"}


class TestStyle:
    """Lengths and repetition."""

    def test_numbers_case_and_punctuation_make_no_other_text(self) -> None:
        assert repeated(["Pressure 150, high.", "pressure 170 high", "low pressure 90"]) == (True, True, False)

    def test_self_bleu_is_that_of_a_library(self) -> None:
        # nltk 3.10.4, mean of sentence_bleu of each against the others.
        assert self_bleu(["a b c d e", "a b c d f", "x a b c d e"]) == pytest.approx(0.8095253302093383, abs=1e-12)

    @pytest.mark.parametrize(("texts", "expected"), [(["a b c d"] * 3, 1.0), (["a b c d", "e f g h"], 0.0)])
    def test_self_bleu_runs_from_nothing_shared_to_all(self, texts: list[str], expected: float) -> None:
        assert self_bleu(texts) == pytest.approx(expected)

    def test_nothing_to_measure_is_null(self) -> None:
        style = style_of([], n_sentences=[])
        assert (style.words, style.words_per_sentence, style.self_bleu) == (None, None, None)

    def test_sentences_are_counted_without_the_numbers_of_steps(self) -> None:
        reading = ground(
            "1. Woman of 75. 2. High systolic pressure 150. 3. Judgement: risk raised.", FACTS, vocabulary=ADRD
        )
        assert len(reading.reading.sentences) == 3


def test_tallies_count_the_participants_behind_either_side(invented: Source) -> None:
    found = invented.audit(Supervision.FREE_FORM, fabricated_rate=0.05)
    fabricated, supported = found.tallies[Measure.FABRICATED], found.tallies[Measure.SUPPORTED]
    assert 0 < fabricated.n_participants <= fabricated.n
    assert fabricated.n + supported.n == supported.total
    assert fabricated.n_participants == supported.n_other_participants
