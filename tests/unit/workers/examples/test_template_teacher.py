"""The template teacher on any cohort: what it may say in many forms, for whom it writes, and flaws at known rates."""

import hashlib
import random
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.cohorts.histories import LEXICON_OF_SIX, write_cohort
from workers.cohort.lexicon import AGE, SEX
from workers.contract.errors import InputError
from workers.contract.recipes.teaching import EndpointTeacherRecipe, Supervision, TemplateTeacherRecipe
from workers.examples.exam_facts import EXAM_KNOWLEDGE, facts_of
from workers.examples.facts import Case, Fact, Knowledge
from workers.examples.history import Item, knowledge_of, write_history
from workers.examples.rationales import write_rationales
from workers.examples.template.flaws import N_STRONGEST, VAGUE, flawed
from workers.examples.template.phrases import LEADS, TAILS
from workers.examples.template.teacher import TemplateTeacher
from workers.store.published import LABELS, LEXICON, VALUES

RATIONALES = (Supervision.FREE_FORM, Supervision.STEP_BY_STEP)
TERSE_DIGEST = "b7349afe52766fa5dd0541d0405d16f50b13e082cfa65484a5b534b26306090f"  # at commit 326eb6f
THEMES = ("person", "heart", "mind")
# Made-up words that no wording of the grammar holds.
RECORDABLE = [
    Fact(f"zq{name}", points, theme, mechanism=f"mq{name} does it", code=name, when=f"{len(name)} y ago")
    for name, points, theme in [
        ("a", 3, "heart"), ("b", -3, "heart"), ("c", 2, "heart"), ("d", -2, "mind"), ("e", 2, "mind"),
        ("f", 1, "mind"), ("g", -1, "person"), ("h", 1, "person"), ("i", -1, "heart"), ("j", 0, "mind"),
    ]
]  # fmt: skip
POOL = tuple(Fact(f"pq{number}", sign, "heart", code=f"P{number}") for number in range(4) for sign in (-2, 2))
KNOWLEDGE = Knowledge(THEMES, POOL, expected=tuple((fact.code, f"xq{fact.code}") for fact in RECORDABLE))
PERSON = Fact("woman of 70", 1, "person", code=AGE)
CASES = st.builds(
    Case,
    key=st.text(max_size=6),
    facts=st.lists(st.sampled_from(RECORDABLE), unique=True, max_size=10).map(lambda facts: (PERSON, *facts)),
    has_event=st.booleans(),
)
ALL_FACTS = Case(key="all", facts=(PERSON, *RECORDABLE), has_event=True)


def teacher(*, threshold: int = 2, **changes: Any) -> TemplateTeacher:  # noqa: ANN401  # fields of the recipe
    recipe = TemplateTeacherRecipe.model_validate({"grammar": "varied", **changes})
    return TemplateTeacher(recipe, threshold, KNOWLEDGE)


def many(n: int = 400) -> list[Case]:
    """Cases with six facts each, drawn by lot."""
    source = random.Random(1)
    return [Case(str(number), (PERSON, *source.sample(RECORDABLE, 6)), source.random() < 0.5) for number in range(n)]


def named(rationale: str) -> set[str]:
    """Codes of the facts that a rationale names."""
    return set(re.findall(r"\bzq(\w)\b", rationale.lower()))


def form_of(rationale: str) -> str:
    """A rationale with facts, lists of them, mechanisms, dates, missing names and numbers of steps masked."""
    text = re.sub(r"mq\w does it", "MECHANISM", rationale.lower())
    text = re.sub(r"\d+ y ago", "DATE", text)
    text = re.sub(r"\b[zx]q\w\b|woman of 70", "FACT", text)
    text = re.sub(r"FACT(?:, FACT)+", "FACT", text)
    return re.sub(r"(?:\d+\. FACT[^.]*\. )+", "STEPS ", text) if "1. " in text else text


def directions(rationale: str) -> dict[str, bool]:
    """Which way each named fact is said to bear on risk; of rationales whose facts have no mechanism."""
    said: dict[str, bool] = {}
    for sentence in re.split(r"\. |; ", rationale.lower().rstrip(".")):
        ways = {
            side
            for side in (True, False)
            if any(f"{lead}: " in sentence for lead in LEADS[side]) or any(tail in sentence for tail in TAILS[side])
        }
        for code in named(sentence):
            (said[code],) = ways
    return said


def without_mechanisms(case: Case) -> Case:
    facts = tuple(Fact(fact.words, fact.points, fact.theme, code=fact.code, when=fact.when) for fact in case.facts)
    return Case(case.key, facts, case.has_event)


def test_terse_exam_rationales_are_what_they_always_were() -> None:
    source = random.Random(2606)
    cases = [Case(str(n), tuple(facts_of(exam(source))), source.random() < 0.5) for n in range(200)]
    digest = hashlib.sha256()
    for access in ("blind", "conditioned"):
        for max_words in (12, 24, 32, 60):
            recipe = TemplateTeacherRecipe.model_validate({"label_access": access, "max_words": max_words, "seed": 3})
            writer = TemplateTeacher(recipe, 5)
            for case in cases:
                for kind in Supervision:
                    digest.update(f"{writer.write(case, kind)}\n".encode())
    assert digest.hexdigest() == TERSE_DIGEST


def exam(source: random.Random) -> dict[str, float]:
    """An exam that never was; the digest depends on every draw."""
    values = {
        "AGE": source.uniform(33, 80), "SEX": float(source.choice([1, 2])), "SYSBP": source.gauss(138, 22),
        "DIABP": source.gauss(84, 12), "TOTCHOL": source.gauss(238, 44), "GLUCOSE": source.gauss(88, 24),
        "BMI": source.gauss(26, 4), "HEARTRTE": source.gauss(77, 12), "CURSMOKE": float(source.random() < 0.5),
        "CIGPDAY": source.choice([0.0, 10.0, 20.0]), "DIABETES": float(source.random() < 0.1),
        "BPMEDS": float(source.random() < 0.1),
    }  # fmt: skip
    return {code: value for code, value in values.items() if code in ("AGE", "SEX") or source.random() > 0.1}


@pytest.mark.parametrize("supervision", RATIONALES)
class TestVaried:
    @pytest.mark.parametrize("max_words", [32, 120])
    def test_there_are_at_least_200_forms(self, supervision: Supervision, max_words: int) -> None:
        writer = teacher(max_words=max_words)
        one_case = {form_of(writer.write(Case(str(n), ALL_FACTS.facts, True), supervision)) for n in range(2000)}
        assert len(one_case) >= 200

    @given(case=CASES, max_words=st.integers(12, 400), grammar=st.sampled_from(["varied", "terse"]))
    def test_no_rationale_is_too_long_or_leaves_its_line(
        self, supervision: Supervision, case: Case, max_words: int, grammar: str
    ) -> None:
        rationale = teacher(max_words=max_words, grammar=grammar).write(case, supervision)
        assert len(rationale.split()) <= max_words
        assert "\n" not in rationale
        assert "Answer:" not in rationale
        assert rationale.endswith((" raised.", " low."))

    @given(case=CASES, max_words=st.integers(12, 200))
    def test_only_recorded_facts_are_named_and_in_the_right_direction(
        self, supervision: Supervision, case: Case, max_words: int
    ) -> None:
        rationale = teacher(max_words=max_words).write(without_mechanisms(case), supervision)
        points = {fact.code: fact.points for fact in case.facts}
        assert "pq" not in rationale
        for code, raises in directions(rationale).items():
            assert (points[code] > 0) == raises
            assert points[code] != 0

    @given(case=CASES)
    def test_what_is_called_missing_is_missing(self, supervision: Supervision, case: Case) -> None:
        rationale = teacher(max_words=200).write(case, supervision)
        missing = set(re.findall(r"\bxq(\w)\b", rationale.lower()))
        absent = {fact.code for fact in RECORDABLE} - {fact.code for fact in case.facts}
        assert missing <= absent
        assert bool(missing) == bool(absent)

    def test_few_words_go_to_the_strongest_fact_of_the_judgement(self, supervision: Supervision) -> None:
        for raised, strongest in ((True, "a"), (False, "b")):
            writer = teacher(threshold=-99 if raised else 99, max_words=24)
            texts = [writer.write(Case(str(n), ALL_FACTS.facts, True), supervision) for n in range(100)]
            assert all(strongest in named(text) for text in texts)

    def test_room_brings_mechanisms_and_dates(self, supervision: Supervision) -> None:
        short, long = [teacher(max_words=n).write(ALL_FACTS, supervision) for n in (24, 200)]
        assert "mq" not in short
        assert long.count("does it") == 3
        assert long.count("y ago") == len(named(long)) >= 7

    def test_both_sides_are_heard_where_there_is_room(self, supervision: Supervision) -> None:
        for case in many():
            sides = {fact.points > 0 for fact in case.facts[1:] if fact.points}
            assert (
                set(directions(teacher(max_words=120).write(without_mechanisms(case), supervision)).values()) == sides
            )

    @given(case=CASES, seed=st.integers(0, 99))
    def test_the_same_seed_gives_the_same_words_and_another_others(
        self, supervision: Supervision, case: Case, seed: int
    ) -> None:
        first, again = [teacher(seed=seed).write(case, supervision) for _ in range(2)]
        assert first == again
        others = {teacher(seed=seed + n).write(case, supervision) for n in range(12)}
        assert len(others) > 1

    def test_exam_facts_do_as_well(self, supervision: Supervision) -> None:
        source = random.Random(4)
        writer = TemplateTeacher(TemplateTeacherRecipe(grammar="varied", max_words=60), 5, EXAM_KNOWLEDGE)
        for number in range(100):
            facts = tuple(facts_of(exam(source)))
            text = writer.write(Case(str(number), facts, True), supervision).lower()
            n_telling = sum(bool(fact.points) for fact in facts)
            assert sum(fact.words in text for fact in facts if fact.points) >= min(3, n_telling)
            assert not [fact.words for fact in EXAM_KNOWLEDGE.pool if fact.words in text and fact not in facts]


def test_steps_follow_the_themes_and_with_room_each_theme_has_one() -> None:
    case = Case("k", (PERSON, RECORDABLE[4], RECORDABLE[0]), True)
    for number in range(50):
        writer = teacher(max_words=120, seed=number)
        steps = re.split(r"(?:^| )\d+\. ", writer.write(case, Supervision.STEP_BY_STEP))[1:]
        assert len(steps) == len(THEMES) + 2
        assert ["woman" in steps[0].lower(), "zqa" in steps[1], "zqe" in steps[2]] == [True] * 3
        assert all(theme in step.lower() for theme, step in zip(THEMES, steps, strict=False))


class TestFlaws:
    @pytest.mark.parametrize("supervision", RATIONALES)
    @pytest.mark.parametrize("grammar", ["terse", "varied"])
    @pytest.mark.parametrize("flaw", ["fabricated", "vagueness", "omission", "wrong_direction"])
    def test_a_flaw_changes_the_evidence_and_never_the_judgement(
        self, flaw: str, grammar: str, supervision: Supervision
    ) -> None:
        rate: dict[str, Any] = {f"{flaw}_rate": 1.0}
        good, bad = teacher(grammar=grammar), teacher(grammar=grammar, **rate)
        texts = [(good.write(case, supervision), bad.write(case, supervision)) for case in many(60)]
        assert all(one.split()[-1] == other.split()[-1] for one, other in texts)
        if flaw != "wrong_direction" or (grammar, supervision) != ("terse", Supervision.STEP_BY_STEP):
            assert sum(one != other for one, other in texts) > 50  # terse steps say no direction

    @pytest.mark.parametrize("supervision", RATIONALES)
    def test_at_rate_one_nothing_true_is_left(self, supervision: Supervision) -> None:
        for case in many(100):
            fabricated = teacher(fabricated_rate=1.0, max_words=60).write(case, supervision)
            assert not named(fabricated)
            assert "pq" in fabricated.lower()
            vague = teacher(vagueness_rate=1.0, max_words=60).write(case, supervision)
            assert not named(vague)
            assert VAGUE in vague.lower()
            turned = teacher(wrong_direction_rate=1.0, max_words=60).write(case, supervision)
            points = {fact.code: fact.points for fact in case.facts}
            assert named(turned)
            assert all((points[code] > 0) != raises for code, raises in directions(turned).items())

    def test_omission_leaves_out_the_strongest(self) -> None:
        for case in many(100):
            left = flawed(case.facts, recipe(omission_rate=1.0), pool=POOL, choice=random.Random(0))
            gone = [fact for fact in case.facts if fact not in left]
            assert len(gone) == min(N_STRONGEST, sum(bool(fact.points) for fact in case.facts[1:]))
            telling = [abs(fact.points) for fact in left[1:] if fact.points]
            assert min(abs(fact.points) for fact in gone) >= max(telling, default=0)

    @pytest.mark.parametrize("flaw", ["fabricated", "vagueness", "wrong_direction", "omission"])
    def test_a_rate_is_the_share_of_facts_that_it_spoils(self, flaw: str) -> None:
        rate, n_telling, n_left, choice = 0.3, 0, 0, random.Random(0)
        for case in many():
            telling = [fact for fact in case.facts[1:] if fact.points]
            left = flawed(case.facts, recipe(**{f"{flaw}_rate": rate}), pool=POOL, choice=choice)
            n_telling += min(N_STRONGEST, len(telling)) if flaw == "omission" else len(telling)
            n_left += len(telling) - len([fact for fact in telling if fact in left])
        assert n_left / n_telling == pytest.approx(rate, abs=0.03)

    def test_age_and_sex_stay(self) -> None:
        all_of_it = recipe(fabricated_rate=1.0, omission_rate=0.5, vagueness_rate=1.0, wrong_direction_rate=1.0)
        assert all(flawed(case.facts, all_of_it, pool=POOL, choice=random.Random(0))[0] == PERSON for case in many(20))


def recipe(**changes: object) -> TemplateTeacherRecipe:
    return TemplateTeacherRecipe.model_validate(changes)


class TestLabelAccess:
    @pytest.mark.parametrize("supervision", RATIONALES)
    def test_a_filtered_teacher_is_the_blind_one_where_it_was_right_and_else_silent(
        self, supervision: Supervision
    ) -> None:
        blind, filtered = teacher(), teacher(label_access="filtered")
        kept = 0
        for case in many():
            is_right = blind.judges_raised(case) == case.has_event
            kept += is_right
            assert filtered.write(case, supervision) == (blind.write(case, supervision) if is_right else "")
        assert 0 < kept < len(many())


class TestWrittenRationales:
    SPLITS = "train train tuning held_out"

    @pytest.fixture
    def cohort(self, tmp_path: Path) -> Path:
        """Two thirds with risk factors; three in five of those, and one in three of the rest, have the event."""
        records, labels = [], []
        for number in range(360):
            has_risk = number % 3 > 0
            person = [Item(AGE, 62.0 + 5 * (number % 4)), Item(SEX, float(number % 2))]
            records.append([*person, *([Item("I10", None, 2, 5.0, 1.0), Item("HBA1C", 7.0)] if has_risk else [])])
            labels.append(number % (5 if has_risk else 9) < 3)
        return write_cohort(tmp_path, records, labels, splits=self.SPLITS)

    @pytest.mark.parametrize(
        ("access", "splits"), [("blind", {"train", "tuning"}), ("conditioned", {"train"}), ("filtered", {"train"})]
    )
    @pytest.mark.parametrize("grammar", ["terse", "varied"])
    def test_only_a_blind_teacher_writes_outside_train_and_nobody_for_held_out(
        self, access: str, splits: set[str], grammar: str, cohort: Path
    ) -> None:
        texts, counts = write(cohort, recipe(label_access=access, grammar=grammar))
        labels = pd.read_parquet(cohort / LABELS)
        for name in RATIONALES:
            assert set(labels["split"][texts[name] != ""]) == splits
            if access != "filtered":
                assert ((texts[name] != "") == labels["split"].isin(splits)).all()
        assert counts["n_written"] == int((texts != "").any(axis=1).sum())

    def test_the_selection_of_a_filtered_teacher_is_counted_by_class(self, cohort: Path) -> None:
        texts, counts = write(cohort, recipe(label_access="filtered"))
        labels = pd.read_parquet(cohort / LABELS)
        is_train, is_event = labels["split"] == "train", labels["boolean_value"]
        for name, of_class in (("events", is_train & is_event), ("controls", is_train & ~is_event)):
            kept = int((texts["free_form"][of_class] != "").sum())
            assert (counts[f"n_kept_{name}"], counts[f"n_empty_{name}"]) == (kept, int(of_class.sum()) - kept)
            assert counts[f"train_{name}_agreement"] == pytest.approx(kept / of_class.sum())
            assert 0 < kept < of_class.sum()

    def test_the_counts_say_who_wrote_and_from_which_threshold(self, cohort: Path) -> None:
        first, second = recipe(grammar="varied"), recipe(grammar="varied", seed=1)
        texts, counts = write(cohort, first)
        others, of_others = write(cohort, second)
        assert (counts["teacher"], of_others["teacher"]) == (first.digest(), second.digest())
        assert counts["threshold_points"] == of_others["threshold_points"]
        assert counts["n_distinct free_form"] == texts["free_form"].nunique()
        assert (texts["free_form"] != others["free_form"]).any()

    def test_the_threshold_is_fitted_on_train_alone(self, cohort: Path) -> None:
        labels = pd.read_parquet(cohort / LABELS)
        _, before = write(cohort, recipe())
        is_train = labels["split"] == "train"
        labels.loc[~is_train, "boolean_value"] = ~labels.loc[~is_train, "boolean_value"]
        labels.to_parquet(cohort / LABELS)
        _, after = write(cohort, recipe())
        assert before == after

    def test_exam_rationales_stay_within_train(self, tmp_path: Path) -> None:
        source = random.Random(3)
        write_cohort(tmp_path, [[]] * 40, [number % 3 == 0 for number in range(40)], splits=self.SPLITS)
        (tmp_path / LEXICON).unlink()
        pd.DataFrame([exam(source) for _ in range(40)]).to_parquet(tmp_path / VALUES)
        texts, _ = write(tmp_path, recipe())
        is_train = pd.read_parquet(tmp_path / LABELS)["split"] == "train"
        assert ((texts["free_form"] != "") == is_train).all()

    def test_an_endpoint_without_a_place_is_refused(self, cohort: Path) -> None:
        with pytest.raises(InputError, match="no endpoint is given"):
            write_rationales(
                cohort,
                EndpointTeacherRecipe(kind="endpoint", model="any"),
                prompts=cohort,
                endpoint=None,
                cache=cohort,
            )


def write(cohort: Path, teacher_recipe: TemplateTeacherRecipe) -> tuple[pd.DataFrame, dict[str, int | float | str]]:
    return write_rationales(cohort, teacher_recipe, prompts=cohort, endpoint=None, cache=cohort)


def test_a_lexicon_gives_the_teacher_its_themes_what_to_expect_and_what_to_invent() -> None:
    knowledge = knowledge_of(LEXICON_OF_SIX)
    assert knowledge.themes == ("person", "vessels")
    assert knowledge.expected == (("HBA1C", "HbA1c"), ("SMOKER", "smoker"))
    assert {fact.words for fact in knowledge.pool} == {"high HbA1c 7.0", "smoker", "hypertension"}


LONG = [
    Item(AGE, 70.0), Item(SEX, 1.0), Item("I10", None, 1, 4.0, 4.0), Item("HBA1C", 7.0, 1, 1.0, 1.0),
    Item("SMOKER", 1.0), Item("QUIET", 1.0),
]  # fmt: skip


def test_a_teacher_that_reads_the_prompt_names_nothing_that_it_leaves_out(tmp_path: Path) -> None:
    write_cohort(tmp_path, [LONG, LONG], [True, False])
    max_words = 14
    prompt = write_history(LONG, LEXICON_OF_SIX, max_words=max_words).text
    assert "ypertension" not in prompt
    texts = {
        reads: write_rationales(
            tmp_path,
            TemplateTeacherRecipe(reads=reads, max_words=400, grammar="varied"),
            prompts=tmp_path,
            endpoint=None,
            cache=tmp_path,
            max_words=max_words,
        )[0].to_numpy()
        for reads in ("record", "prompt")
    }
    assert all("ypertension" in text for text in texts["record"].ravel())
    assert all("HbA1c" in text and "ypertension" not in text for text in texts["prompt"].ravel())


def test_what_a_prompt_leaves_out_is_neither_missing_nor_made_up() -> None:
    case = Case("key", (PERSON, RECORDABLE[0]), True, unshown=frozenset({"P0", *(one.code for one in RECORDABLE[1:])}))
    text = teacher(max_words=400, fabricated_rate=1.0).write(case, Supervision.FREE_FORM)
    assert "xq" not in text
    assert "pq0" not in text
    assert "pq" in text
