"""Demonstrations: who is shown, that only the order follows the seed, and that the base reads exactly these tokens."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from support.studies.orders import micro_spec, order_of
from workers.attempt.runner import Runner
from workers.cohort.features import Features
from workers.contract.errors import InputError
from workers.contract.inputs import InputKind, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import DemonstrationRecipe, Supervision
from workers.contract.trial import EvaluationRecipe, Method, TrialSpec
from workers.scoring.classical.baselines import EXAM_VALUES
from workers.scoring.demonstrations import fixed_rows, nearest_rows
from workers.scoring.evaluating import Questions
from workers.scoring.few_shot import few_shot_questions, few_shot_tokens
from workers.store.published import TOKENS, folder_of
from workers.work.bench import Bench, Work

EVALUATION = EvaluationRecipe(controls_per_case=1.0, max_new_tokens=8)
ORDER_SEEDS = (1, 2, 3, 4, 5)


def recipe_of(**changes: Any) -> DemonstrationRecipe:  # noqa: ANN401  # fields of the recipe
    fields = {"shots": 4, "shows": "label", "inference": "direct", "order_seed": 1}
    return DemonstrationRecipe(**(fields | changes))


def spec_of(recipe: DemonstrationRecipe) -> TrialSpec:
    is_shown = recipe.shows == "rationale"
    spec = micro_spec(
        Supervision.FREE_FORM if is_shown else Supervision.LABEL_ONLY,
        method=Method.FEW_SHOT,
        train_size=None,
        training=None,
        demonstrations=recipe,
        evaluation=EVALUATION,
    )
    return spec if is_shown else spec.model_copy(update={"supervision": None})


@pytest.fixture(scope="module")
def bench() -> Bench:
    torch.set_num_threads(1)
    return Bench()


@pytest.fixture(scope="module")
def layout(prepared_store: Path) -> StoreLayout:
    return StoreLayout(prepared_store)


def work_of(recipe: DemonstrationRecipe, layout: StoreLayout, bench: Bench) -> Work:
    return Work(spec=spec_of(recipe), layout=layout, folder=layout.root, bench=bench)


def asked(recipe: DemonstrationRecipe, layout: StoreLayout, bench: Bench) -> Questions:
    work = work_of(recipe, layout, bench)
    return few_shot_questions(work, *work.base)


@pytest.fixture(scope="module")
def labels(layout: StoreLayout, bench: Bench) -> pd.DataFrame:
    return work_of(recipe_of(), layout, bench).labels


@pytest.fixture(scope="module")
def features(layout: StoreLayout, bench: Bench) -> Features:
    return work_of(recipe_of(), layout, bench).features.only(EXAM_VALUES)


class TestWhoIsShown:
    @pytest.mark.parametrize("shots", [2, 4, 8])
    def test_fixed_demonstrations_are_balanced_and_of_the_train_split(self, labels: pd.DataFrame, shots: int) -> None:
        members = labels.iloc[fixed_rows(labels, recipe_of(shots=shots), salt="s")]
        assert set(members["split"]) == {"train"}
        assert members["boolean_value"].sum() == shots / 2
        assert members.index.is_unique

    def test_an_order_seed_changes_the_order_alone(self, labels: pd.DataFrame) -> None:
        orders = [tuple(fixed_rows(labels, recipe_of(shots=8, order_seed=seed), salt="s")) for seed in ORDER_SEEDS]
        assert len(set(orders)) == len(ORDER_SEEDS)
        assert len({frozenset(order) for order in orders}) == 1

    def test_fewer_shots_are_a_subset_of_more(self, labels: pd.DataFrame) -> None:
        few, many = (set(fixed_rows(labels, recipe_of(shots=shots), salt="s")) for shots in (2, 8))
        assert few < many

    def test_what_is_shown_does_not_change_who_is(self, labels: pd.DataFrame) -> None:
        label, rationale = (fixed_rows(labels, recipe_of(shows=shows), salt="s") for shows in ("label", "rationale"))
        assert np.array_equal(label, rationale)

    def test_nearest_demonstrations_are_the_closest_train_rows_of_each_label(
        self, labels: pd.DataFrame, features: Features
    ) -> None:
        rows = np.flatnonzero((labels["split"] == "held_out").to_numpy())[:25]
        recipe = recipe_of(shots=4, selection="nearest")
        chosen, values = nearest_rows(labels, features, recipe, rows=rows), features.table().to_numpy()
        is_train = (labels["split"] == "train").to_numpy()
        filled = np.where(np.isnan(values), np.nanmedian(values[is_train], axis=0), values)
        scaled = (filled - filled[is_train].mean(axis=0)) / filled[is_train].std(axis=0)
        outcomes = labels["boolean_value"].to_numpy()
        for row, shown in zip(rows, chosen, strict=True):
            distance = np.linalg.norm(scaled - scaled[row], axis=1)
            for outcome in (True, False):
                members = np.flatnonzero(is_train & (outcomes == outcome))
                farthest = np.sort(distance[members])[1]
                of_label = [place for place in shown if outcomes[place] == outcome]
                assert len(of_label) == 2
                assert is_train[of_label].all()
                assert (distance[of_label] <= farthest + 1e-9).all()

    def test_nearest_demonstrations_too_change_by_order_alone(self, labels: pd.DataFrame, features: Features) -> None:
        rows = np.flatnonzero((labels["split"] == "held_out").to_numpy())[:10]
        first, second = (
            nearest_rows(labels, features, recipe_of(selection="nearest", order_seed=seed), rows=rows)
            for seed in (1, 2)
        )
        assert not np.array_equal(first, second)
        assert np.array_equal(np.sort(first), np.sort(second))

    def test_values_of_those_who_are_scored_do_not_move_the_scale(
        self, labels: pd.DataFrame, features: Features
    ) -> None:
        rows = np.flatnonzero((labels["split"] == "held_out").to_numpy())
        values = features.table()
        values.iloc[rows[1:]] *= 1_000
        changed = Features.of_table(values)
        before, after = (
            nearest_rows(labels, inputs, recipe_of(selection="nearest"), rows=rows[:1])
            for inputs in (features, changed)
        )
        assert np.array_equal(before, after)


class TestWhatIsRead:
    @pytest.mark.parametrize(
        ("shows", "expected"), [("label", "{p}Answer: {y}\n"), ("rationale", "{p}{r}\nAnswer: {y}\n")]
    )
    def test_a_demonstration_is_a_training_text_that_ends_in_a_line_break(
        self, layout: StoreLayout, bench: Bench, shows: str, expected: str
    ) -> None:
        recipe = recipe_of(shows=shows)
        work = work_of(recipe, layout, bench)
        base, answer = work.base
        texts = []
        for row in fixed_rows(work.labels, recipe, salt=work.spec.cohort.split_salt):
            (prompt,), (rationale,) = work.prompt_tokens(np.array([row])), work.rationale_tokens(np.array([row]))
            words = {True: "yes", False: "no"}[bool(work.outcomes[row])]
            parts = {"p": base.tokenizer.decode(prompt), "r": base.tokenizer.decode(rationale), "y": words}
            texts.append(expected.format(**parts))
        questions = few_shot_questions(work, base, answer)
        assert base.tokenizer.decode(questions.prefix) == "".join(texts)
        assert answer.end not in questions.prefix

    def test_without_demonstrations_the_prompt_stands_alone(self, layout: StoreLayout, bench: Bench) -> None:
        recipe = recipe_of(shots=0, shows="none")
        questions = asked(recipe, layout, bench)
        work = work_of(recipe, layout, bench)
        assert questions.prefix == []
        assert questions.prompts == work.prompt_tokens(work.scored_rows.rows)

    def test_everybody_has_the_same_question_whatever_is_shown(self, layout: StoreLayout, bench: Bench) -> None:
        recipes = [recipe_of(), recipe_of(shows="rationale"), recipe_of(order_seed=2), recipe_of(shots=2)]
        questions = [asked(recipe, layout, bench).prompts for recipe in recipes]
        assert all(prompts == questions[0] for prompts in questions)

    def test_nearest_demonstrations_stand_before_each_question(self, layout: StoreLayout, bench: Bench) -> None:
        fixed, nearest = (asked(recipe_of(shots=2, selection=kind), layout, bench) for kind in ("fixed", "nearest"))
        assert nearest.prefix == []
        assert len({len(prompt) for prompt in nearest.prompts}) > 1
        for question, behind in zip(fixed.prompts, nearest.prompts, strict=True):
            assert behind[-len(question) :] == question
            assert len(behind) > len(question)

    @pytest.mark.parametrize(("inference", "writes"), [("direct", False), ("reason", True)])
    def test_the_inference_rule_decides_whether_the_base_writes(
        self, layout: StoreLayout, bench: Bench, inference: str, writes: bool
    ) -> None:
        assert asked(recipe_of(inference=inference), layout, bench).writes is writes


class TestScores:
    def test_direct_scores_are_those_of_a_pass_over_demonstrations_prompt_and_answer_line(self, store: Path) -> None:
        recipe = recipe_of(shots=2)
        spec = spec_of(recipe)
        for _ in Runner(n_threads=1).run(order_of(spec, store)):
            pass
        layout = StoreLayout(store)
        outcome = Outcome.load(layout.outcome(spec.trial_id))
        table = pd.read_parquet(layout.trial(spec.trial_id) / outcome.attempt / "predictions.parquet")
        work = work_of(recipe, layout, Bench())
        base, answer = work.base
        questions = few_shot_questions(work, base, answer)
        assert (table["p_strict"] == table["p_forced"]).all()
        assert outcome.scores["held_out"].invalid_rate == 0
        assert outcome.train_prevalence == 0.5 > outcome.natural_prevalence  # what it was shown is balanced
        for place in (0, 1, -1):
            tokens = [*questions.prefix, *questions.prompts[place], *answer.alone[True][:-1]]
            logits = base.model(input_ids=torch.tensor([tokens])).logits[0, -1]
            gap = logits[answer.label_ids[True]].logsumexp(-1) - logits[answer.label_ids[False]].logsumexp(-1)
            assert table["p_strict"].iloc[place] == pytest.approx(torch.sigmoid(gap).item(), abs=1e-5)

    def test_a_base_that_writes_without_demonstrations_scores_as_zero_shot(self, store: Path) -> None:
        alone = spec_of(recipe_of(shots=0, shows="none", inference="reason", order_seed=0))
        zero_shot = alone.model_copy(update={"method": Method.ZERO_SHOT, "demonstrations": None})
        layout, runner = StoreLayout(store), Runner(n_threads=1)
        outcomes = []
        for spec in (alone, zero_shot):
            for _ in runner.run(order_of(spec, store)):
                pass
            outcomes.append(Outcome.load(layout.outcome(spec.trial_id)))
        assert outcomes[0].scores == outcomes[1].scores
        assert Scoring.STRICT in outcomes[0].scores["held_out"].metrics


def base_of(layout: StoreLayout) -> Path:
    return folder_of(input_recipes(spec_of(recipe_of()))[InputKind.BASE], layout)


class TestFit:
    @pytest.mark.parametrize("shows", ["label", "rationale"])
    @pytest.mark.parametrize("shots", [2, 4])
    def test_the_longest_prompt_is_the_one_that_is_read(
        self, layout: StoreLayout, bench: Bench, shows: str, shots: int
    ) -> None:
        recipe = recipe_of(shows=shows, shots=shots)
        found = few_shot_tokens(spec_of(recipe), layout, base=base_of(layout))
        work = work_of(recipe, layout, bench)
        questions = few_shot_questions(work, *work.base)
        everybody = work.prompt_tokens(np.flatnonzero((work.labels["split"] != "train").to_numpy()))
        assert found == len(questions.prefix) + max(map(len, everybody))

    def test_no_nearest_prompt_is_longer_than_the_bound(self, layout: StoreLayout, bench: Bench) -> None:
        recipe = recipe_of(selection="nearest")
        bound = few_shot_tokens(spec_of(recipe), layout, base=base_of(layout))
        longest = max(map(len, asked(recipe, layout, bench).prompts))
        assert longest <= bound < 1.5 * longest

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"shots": 3}, "3 demonstrations can't be balanced"),
            ({"shots": 2, "shows": "none"}, "2 demonstrations that show nothing"),
        ],
    )
    def test_shots_that_cannot_be_shown_are_refused(
        self, layout: StoreLayout, changes: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            few_shot_tokens(spec_of(recipe_of(**changes)), layout, base=base_of(layout))

    def test_a_teacher_that_left_a_demonstration_unexplained_is_refused_with_counts(self, store: Path) -> None:
        recipe = recipe_of(shows="rationale")
        layout = StoreLayout(store)
        recipes = input_recipes(spec_of(recipe))
        path = folder_of(recipes[InputKind.RATIONALE_TOKENS], layout) / TOKENS
        work = work_of(recipe, layout, Bench())
        base, answer = work.base
        first = fixed_rows(work.labels, recipe, salt=work.spec.cohort.split_salt)[0]
        table = work.bench.table(path)
        table["free_form"] = [cell[:0] if row == first else cell for row, cell in enumerate(table["free_form"])]
        with pytest.raises(InputError, match="no rationale for 1 of 4 demonstrations"):
            few_shot_questions(work, base, answer)
