"""Every decoder-only architecture that transformers can build proves itself as a base, or is refused in one sentence.

Minutes for all of them, and slow as a whole; the most telling ones have `test_eight.py`.
"""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from support.bases.last_layers import disturbed_by, disturbed_on_a_cache_by
from support.bases.zoo import ARCHITECTURES, Shown, show, small_config, small_model
from workers.models.builtin.clinical import clinical_tokenizer
from workers.preparing.company import MOST_DISTURBED

pytestmark = [pytest.mark.slow, pytest.mark.zoo]

MORE_THAN = 30
FAMILIES = {
    *("llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "olmo", "olmo2"),
    *("granite", "smollm3", "gpt_neox", "gpt2", "falcon"),
}
HYBRIDS = {"lfm2", "jamba", "bamba", "zamba", "zamba2", "granitemoehybrid", "falcon_h1", "nemotron_h"}
STATE_SPACES = {"mamba", "mamba2", "falcon_mamba"}


@pytest.fixture(scope="module")
def shown() -> Iterator[Callable[[str], Shown]]:
    """What an architecture came to, found out once."""
    tokenizer = clinical_tokenizer()
    with TemporaryDirectory() as folder:
        yield cache(lambda kind: show(kind, tokenizer, Path(folder) / kind))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_an_architecture_proves_itself_or_is_refused_in_one_sentence(
    kind: str, shown: Callable[[str], Shown], record_property: Callable[[str, object], None]
) -> None:
    found = shown(kind)
    record_property("zoo", found.row)
    if found.proof is not None:
        assert found.proof.tried[found.proof.together].largest <= MOST_DISTURBED["float32"]
        assert found.spread > 1e-3
        return
    assert found.words
    assert "\n" not in found.words
    assert "Traceback" not in found.words


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_last_layer_where_it_is_read_gives_what_the_whole_one_does(kind: str, shown: Callable[[str], Shown]) -> None:
    found = shown(kind)
    if found.proof is None:
        return
    model = small_model(small_config(kind, clinical_tokenizer()))
    for n_padded in (6, 2, 0), (0, 0, 0):
        assert disturbed_by(model, n_padded=n_padded) < 1e-4
        if found.cached is not None:
            assert disturbed_on_a_cache_by(model, n_padded=n_padded) < 1e-4


def test_more_than_thirty_are_scored_right_and_the_known_families_are_among_them(
    shown: Callable[[str], Shown],
) -> None:
    right = {kind for kind in ARCHITECTURES if shown(kind).proof is not None}
    assert len(right) > MORE_THAN
    assert right >= FAMILIES
    assert right & HYBRIDS
    assert right & STATE_SPACES
