"""Rationale controls: each changes what it says and nothing else."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.studies.orders import micro_spec
from workers.contract.inputs import InputKind, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.recipes.teaching import TargetRecipe
from workers.contract.trial import ObjectiveRecipe
from workers.examples.targets import controlled_rationales, exchange, target_text
from workers.examples.tokenizing.tokens import answer_tokens
from workers.models.base import load_tokenizer
from workers.store.published import folder_of
from workers.training.views import Scaffold, rationale_views

RATIONALES = [[10, 11, 12], [13], [14, 15, 16, 17], [18, 19]]
OWNERS = ["a", "b", "b", "c"]


def controlled(recipe: TargetRecipe, *, seed: int = 0) -> list[list[int]]:
    return controlled_rationales(RATIONALES, recipe, owners=OWNERS, seed=seed, filler=7)


def test_real_rationales_are_left_alone() -> None:
    assert controlled(TargetRecipe()) == RATIONALES


def test_filler_has_the_length_of_the_rationale_and_one_token() -> None:
    assert controlled(TargetRecipe(rationale="filler")) == [[7] * 3, [7], [7] * 4, [7] * 2]


@pytest.mark.parametrize("keep_tokens", [0, 2, 99])
def test_truncation_keeps_the_first_tokens(keep_tokens: int) -> None:
    kept = controlled(TargetRecipe(rationale="truncated", keep_tokens=keep_tokens))
    assert kept == [rationale[:keep_tokens] for rationale in RATIONALES]


def test_truncation_without_a_length_is_refused() -> None:
    with pytest.raises(ValueError, match="keep_tokens"):
        controlled(TargetRecipe(rationale="truncated"))


def test_shuffling_moves_every_rationale_to_another_participant_by_the_seed() -> None:
    shuffled = TargetRecipe(rationale="shuffled")
    moved = controlled(shuffled)
    assert sorted(moved) == sorted(RATIONALES)
    assert all(moved[row] != RATIONALES[row] for row in range(len(RATIONALES)))
    assert moved == controlled(shuffled)
    assert any(moved != controlled(shuffled, seed=seed) for seed in range(1, 6))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(0, 2**32 - 1))
def test_nobody_keeps_a_rationale_of_their_own_while_no_participant_has_more_than_half(
    owners: list[int], seed: int
) -> None:
    names = [f"participant-{owner}" for owner in owners]
    givers = exchange(names, seed=seed)
    assert sorted(givers.tolist()) == list(range(len(names)))
    n_own = int(np.sum([names[row] == names[giver] for row, giver in enumerate(givers)]))
    largest = max(Counter(names).values())
    assert n_own == max(0, 2 * largest - len(names))


def test_targets_of_token_ids_read_as_the_text_that_is_meant(prepared_store: Path) -> None:
    folder = folder_of(input_recipes(micro_spec())[InputKind.BASE], StoreLayout(prepared_store))
    tokenizer = load_tokenizer(folder)
    words = Scaffold.of(tokenizer, answer_tokens(tokenizer))
    rationale = tokenizer("Smoking raises the risk.", add_special_tokens=False)["input_ids"]
    texts = {}
    for ordering in ("rationale_first", "label_first"):
        (view,) = rationale_views(
            [1],
            rationale,
            has_event=True,
            objective=ObjectiveRecipe(),
            target=TargetRecipe(ordering=ordering),
            words=words,
        )
        assert view.target[-1] == tokenizer.eos_token_id
        assert view.label_at is not None
        assert tokenizer.decode([view.target[view.label_at]]) == " yes"
        texts[ordering] = tokenizer.decode(view.target[:-1])
    assert texts["rationale_first"] == target_text("Smoking raises the risk.", has_event=True)
    assert texts["label_first"] == "Answer: yes\nSmoking raises the risk."
    assert tokenizer.decode([words.filler]).strip() == "."
    assert tokenizer.decode(words.label_prefix) == "[label] "
