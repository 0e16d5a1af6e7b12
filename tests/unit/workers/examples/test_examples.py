"""Prompts, targets and rationales: what they may say, how long they are, and who may have one."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.studies.orders import micro_spec
from workers.contract.inputs import InputKind, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.recipes.teaching import Supervision, TemplateTeacherRecipe
from workers.examples.exam_facts import cases_of, facts_of
from workers.examples.exam_summary import MEASURES, QUESTION, Values, render_prompt
from workers.examples.facts import Case, risk_points
from workers.examples.targets import DELIMITER, target_text
from workers.examples.template.teacher import TemplateTeacher, fit_threshold
from workers.store.published import LABELS, TEXTS, TOKENS, VALUES, folder_of

MAX_PROMPT_TOKENS = 160
RATIONALES = (Supervision.FREE_FORM, Supervision.STEP_BY_STEP)
CLOSING = re.compile(r"(?:\w+ )*(?:risk is|\w+: risk) (raised|low)")
LEVEL_AND_NUMBER = re.compile(rf"(very high|high|raised|normal|low) ({'|'.join(m.name for m in MEASURES)}) (\d+)")
Read = Callable[[InputKind, str], pd.DataFrame]

FLAG = st.sampled_from([0.0, 1.0])
VALUES_OF_A_PERSON = st.fixed_dictionaries(
    {"AGE": st.floats(30, 85), "SEX": st.sampled_from([1.0, 2.0])},
    optional={
        "SYSBP": st.floats(80, 300),
        "DIABP": st.floats(30, 150),
        "TOTCHOL": st.floats(100, 700),
        "GLUCOSE": st.floats(40, 500),
        "BMI": st.floats(14, 57),
        "HEARTRTE": st.floats(37, 220),
        "CURSMOKE": FLAG,
        "CIGPDAY": st.floats(0, 90),
        "DIABETES": FLAG,
        "BPMEDS": FLAG,
    },
)


@dataclass(frozen=True)
class Person:
    """What was recorded of a person who never was, and the case that a teacher makes of it."""

    key: str
    values: Values
    has_event: bool

    @property
    def case(self) -> Case:
        return Case(key=self.key, facts=tuple(facts_of(self.values)), has_event=self.has_event)


PEOPLE = st.builds(Person, key=st.text(max_size=8), values=VALUES_OF_A_PERSON, has_event=st.booleans())
CASES = st.builds(lambda person: person.case, PEOPLE)


@pytest.fixture
def read(prepared_store: Path) -> Read:
    """Read one table of one prepared input."""
    layout, recipes = StoreLayout(prepared_store), input_recipes(micro_spec(Supervision.FREE_FORM))
    return lambda kind, table: pd.read_parquet(folder_of(recipes[kind], layout) / table)


def teacher(*, threshold: int = 4, **changes: object) -> TemplateTeacher:
    return TemplateTeacher(TemplateTeacherRecipe.model_validate(changes), threshold)


def with_label(case: Case, has_event: bool) -> Case:
    return replace(case, has_event=has_event)


def invented_cases(n: int) -> list[Case]:
    """People who never were, each with every value."""
    source = np.random.default_rng(5)
    draw = source.normal(size=(n, 4)).tolist()
    return [
        Person(
            key=str(number),
            values={
                "AGE": 55 + 9 * a,
                "SEX": 1.0 + number % 2,
                "SYSBP": 135 + 20 * b,
                "BMI": 26 + 4 * c,
                "CURSMOKE": 1,
            },
            has_event=bool(d + 0.6 * a + 0.6 * b > 1),
        ).case
        for number, (a, b, c, d) in enumerate(draw)
    ]


def judgement(rationale: str) -> str:
    """The last word of a rationale: raised or low."""
    return rationale.rstrip(".").rsplit(" ", 1)[-1]


def ungrounded(rationale: str, prompt: str) -> list[str]:
    """Phrases of a rationale that the prompt does not hold, word for word."""
    shown = set(prompt.lower().removesuffix(QUESTION.lower()).strip().rstrip(".").split(". "))
    sentences = [part.rstrip(".") for part in re.split(r"(?<=\.) ", rationale)]
    *others, closing = [sentence for sentence in sentences if not sentence.isdigit()]
    phrases = [phrase for sentence in others for phrase in sentence.rpartition(": ")[2].lower().split(", ")]
    loose = [phrase for phrase in phrases if in_prompt_form(phrase) not in shown]
    return loose if CLOSING.fullmatch(closing) else [*loose, closing]


def in_prompt_form(phrase: str) -> str:
    """How a prompt words the fact that a rationale words like this."""
    if level := LEVEL_AND_NUMBER.fullmatch(phrase):
        return f"{level[2]} {level[3]}, {level[1]}"
    if age := re.fullmatch(r"(man|woman) of (\d+)", phrase):
        return f"{age[1]}, age {age[2]}"
    return phrase


class TestPrompts:
    def test_every_prompt_is_at_most_160_tokens(self, read: Read) -> None:
        assert read(InputKind.PROMPT_TOKENS, TOKENS)["prompt"].map(len).max() <= MAX_PROMPT_TOKENS

    def test_no_prompt_starts_the_answer(self, read: Read) -> None:
        prompts = read(InputKind.PROMPTS, TEXTS)["prompt"]
        assert prompts.str.endswith(QUESTION).all()
        assert not prompts.str.contains(DELIMITER.rstrip(":"), case=False).any()

    def test_one_prompt_an_example_and_no_identity_in_it(self, read: Read) -> None:
        prompts, labels = read(InputKind.PROMPTS, TEXTS)["prompt"], read(InputKind.COHORT, LABELS)
        assert len(prompts) == len(labels)
        numbers = prompts.str.findall(r"\d+").explode().astype(int)
        assert numbers.max() < labels["subject_id"].astype(int).min()
        assert not prompts.str.contains("19[56]", regex=True).any()

    @given(values=VALUES_OF_A_PERSON)
    def test_what_was_not_recorded_is_not_written(self, values: Values) -> None:
        prompt = render_prompt(values)
        for measure in MEASURES:
            assert (measure.name in prompt.lower()) == (measure.code in values)
        assert ("smoke" in prompt.lower()) == ("CURSMOKE" in values)
        assert ("diabetes" in prompt.lower()) == ("DIABETES" in values)
        assert ("medicine" in prompt.lower()) == ("BPMEDS" in values)

    def test_a_known_person_in_words(self) -> None:
        person = {"AGE": 61.0, "SEX": 1.0, "SYSBP": 151.0, "CURSMOKE": 1.0, "CIGPDAY": 18.0, "BPMEDS": 0.0}
        assert render_prompt(person) == (
            "Man, age 60. Systolic pressure 150, high. Smokes 20 a day. No pressure medicine. "
            "Cardiovascular disease within five years?"
        )


class TestTargets:
    @pytest.mark.parametrize(("has_event", "line"), [(True, "Answer: yes"), (False, "Answer: no")])
    @pytest.mark.parametrize("supervision", Supervision)
    @given(case=CASES)
    def test_the_last_line_is_the_label_and_only_the_lines_before_it_differ(
        self, supervision: Supervision, has_event: bool, line: str, case: Case
    ) -> None:
        rationale = teacher().write(case, supervision)
        *before, last = target_text(rationale, has_event=has_event).split("\n")
        assert last == line
        assert before == ([] if supervision is Supervision.LABEL_ONLY else [rationale])

    def test_supervisions_of_one_case_share_nothing_but_the_last_line(self) -> None:
        case = invented_cases(1)[0]
        targets = [target_text(teacher().write(case, kind), has_event=True) for kind in Supervision]
        assert len(set(targets)) == len(Supervision)
        assert {target.rpartition("\n")[2] for target in targets} == {"Answer: yes"}


@pytest.mark.parametrize("supervision", RATIONALES)
class TestRationales:
    @given(person=PEOPLE, max_words=st.integers(12, 60), access=st.sampled_from(["blind", "conditioned"]))
    def test_a_rationale_is_grounded_short_and_on_one_line(
        self, supervision: Supervision, person: Person, max_words: int, access: str
    ) -> None:
        rationale = teacher(max_words=max_words, label_access=access).write(person.case, supervision)
        assert not ungrounded(rationale, render_prompt(person.values))
        assert len(rationale.split()) <= max_words
        assert "\n" not in rationale
        assert DELIMITER not in rationale

    def test_every_prepared_rationale_is_grounded_and_short(self, supervision: Supervision, read: Read) -> None:
        prompts = read(InputKind.PROMPTS, TEXTS)["prompt"].tolist()
        rationales = read(InputKind.RATIONALES, TEXTS)[supervision].tolist()
        written = [(rationale, prompt) for rationale, prompt in zip(rationales, prompts, strict=True) if rationale]
        assert len(written) == 7_454
        assert not any(ungrounded(rationale, prompt) for rationale, prompt in written)
        assert max(len(rationale.split()) for rationale, _ in written) <= TemplateTeacherRecipe().max_words

    @given(case=CASES, seed=st.integers(0, 1000))
    def test_the_same_case_and_seed_give_the_same_words(self, supervision: Supervision, case: Case, seed: int) -> None:
        assert teacher(seed=seed).write(case, supervision) == teacher(seed=seed).write(case, supervision)

    def test_another_seed_finds_other_words_for_the_same_judgement(self, supervision: Supervision) -> None:
        pairs = [[teacher(seed=seed).write(case, supervision) for seed in (0, 1)] for case in invented_cases(60)]
        assert sum(first != second for first, second in pairs) > 30
        assert all(judgement(first) == judgement(second) for first, second in pairs)

    @given(case=CASES)
    def test_a_blind_teacher_writes_the_same_whatever_happened(self, supervision: Supervision, case: Case) -> None:
        blind = teacher(label_access="blind")
        assert blind.write(with_label(case, True), supervision) == blind.write(with_label(case, False), supervision)

    @given(case=CASES)
    def test_a_blind_teacher_judges_by_the_recorded_facts(self, supervision: Supervision, case: Case) -> None:
        expected = "raised" if risk_points(case.facts) >= 4 else "low"
        assert judgement(teacher(threshold=4).write(case, supervision)) == expected

    @given(case=CASES)
    def test_a_conditioned_teacher_argues_for_what_happened(self, supervision: Supervision, case: Case) -> None:
        rationale = teacher(label_access="conditioned").write(case, supervision)
        assert judgement(rationale) == ("raised" if case.has_event else "low")


def test_the_grounding_check_finds_an_invented_fact() -> None:
    prompt = "Man, age 60. Systolic pressure 150, high. Does not smoke. Cardiovascular disease within five years?"
    assert ungrounded("Man of 60. For: high systolic pressure 160. Overall risk is low.", prompt)
    assert ungrounded("Man of 60. For: smokes 20 a day. Overall risk is low.", prompt)
    assert ungrounded("1. Woman of 60. 2. Result: risk low.", prompt)
    assert not ungrounded("1. Man of 60. 2. High systolic pressure 150. 3. Result: risk low.", prompt)


def test_label_only_has_no_rationale() -> None:
    assert not any(teacher().write(case, Supervision.LABEL_ONLY) for case in invented_cases(20))


def test_the_threshold_separates_train_events_best() -> None:
    cases = invented_cases(300)
    points = np.array([risk_points(case.facts) for case in cases])
    events = np.array([case.has_event for case in cases])

    def youden(cut: int) -> float:
        return float((points[events] >= cut).mean() - (points[~events] >= cut).mean())

    assert youden(fit_threshold(cases)) == max(youden(cut) for cut in range(points.min() - 1, points.max() + 2))


def test_nobody_outside_train_has_a_rationale(read: Read) -> None:
    is_train = read(InputKind.COHORT, LABELS)["split"] == "train"
    rationales = read(InputKind.RATIONALES, TEXTS)
    tokens = read(InputKind.RATIONALE_TOKENS, TOKENS)
    for supervision in RATIONALES:
        assert ((rationales[supervision] != "") == is_train).all()
        assert ((tokens[supervision].map(len) > 0) == is_train).all()


def test_a_case_leaves_out_what_was_not_recorded(read: Read) -> None:
    values, labels = read(InputKind.COHORT, VALUES), read(InputKind.COHORT, LABELS)
    cases = cases_of(values, labels)
    told = ["AGE", *(measure.code for measure in MEASURES), "CURSMOKE", "DIABETES", "BPMEDS"]
    assert [len(case.facts) for case in cases] == values[told].notna().sum(axis=1).tolist()
    assert [{fact.code for fact in case.facts} for case in cases] == [
        set(codes) for codes in values[told].apply(lambda row: row.dropna().index.tolist(), axis=1)
    ]
    assert [case.has_event for case in cases] == labels["boolean_value"].tolist()
    assert len({case.key for case in cases}) == len(cases)
