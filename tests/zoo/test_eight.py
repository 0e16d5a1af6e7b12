"""The most telling eight architectures of the zoo, each time that the tests run."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from support.bases.small_models import small_tokenizer
from support.bases.zoo import ARCHITECTURES, Shown, reason_left_out, show
from workers.contract.answers.proof import BaseProof, RowsTogether

# How their rows go together.
EIGHT = {
    "gpt2": RowsTogether.CACHED,
    "qwen3": RowsTogether.CACHED,
    "gemma2": RowsTogether.PADDED,
    "mistral": RowsTogether.PADDED,
    "mixtral": RowsTogether.PADDED,
    "phi3": RowsTogether.PADDED,
    "lfm2": RowsTogether.PADDED,
    "mamba": RowsTogether.PADDED,
}


@pytest.fixture(scope="module")
def shown() -> Iterator[Callable[[str], Shown]]:
    """What an architecture came to, found out once."""
    tokenizer = small_tokenizer()
    with TemporaryDirectory() as folder:
        yield cache(lambda kind: show(kind, tokenizer, Path(folder) / kind))


def proof_of(found: Shown) -> BaseProof:
    assert found.proof is not None, found.words
    return found.proof


@pytest.mark.parametrize("kind", EIGHT)
def test_rows_get_the_same_scores_together_as_alone(kind: str, shown: Callable[[str], Shown]) -> None:
    proof = proof_of(shown(kind))
    assert proof.together is EIGHT[kind]
    assert proof.tried[proof.together].largest <= 1e-4
    assert proof.tried[proof.together].n_flipped == 0
    assert shown(kind).spread > 1e-3


@pytest.mark.parametrize("kind", ["gemma2", "mistral", "olmo3", "phi3"])
def test_with_windows_one_cache_disturbs_and_the_plain_way_does_not(kind: str, shown: Callable[[str], Shown]) -> None:
    """Together, and in another order behind a prefix that all share."""
    found = shown(kind)
    assert found.cached is not None
    assert found.cached > 0.05
    assert proof_of(found).tried == {RowsTogether.PADDED: proof_of(found).tried[RowsTogether.PADDED]}


@pytest.mark.parametrize(("kind", "absent"), [("mamba", "out_proj"), ("llama4_text", "router")])
def test_layers_that_take_no_adapter_are_left_bare(kind: str, absent: str, shown: Callable[[str], Shown]) -> None:
    assert absent not in proof_of(shown(kind)).lora_targets


def test_what_is_left_out_of_the_zoo_has_a_reason_and_is_less_than_a_third() -> None:
    reasons = [reason for kind in ARCHITECTURES if (reason := reason_left_out(kind))]
    assert all(reason.startswith("left out: ") for reason in reasons)
    assert 3 * len(reasons) < len(ARCHITECTURES)
