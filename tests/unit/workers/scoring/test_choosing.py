"""A batch that is written on: chances of sampled tokens, and rows that go on as if they were alone."""

import numpy as np
import pytest
import torch

from workers.models.architectures import Family, Shape, random_model
from workers.scoring.cached import WrittenBatch
from workers.scoring.choosing import Sampling, greedy

N_ROWS = 4_000
CHANCES = torch.tensor([0.1, 0.5, 0.15, 0.25])


def frequencies(sampling: Sampling, *, step: int = 0, n_steps: int = 1) -> np.ndarray:
    """How often each token is drawn by rows that all have these chances."""
    choose = sampling.choice(range(N_ROWS), n_steps=n_steps)
    tokens = choose(CHANCES.log().expand(N_ROWS, -1), range(N_ROWS), step)
    return np.bincount(tokens, minlength=len(CHANCES)) / N_ROWS


class TestSampling:
    def test_tokens_come_as_often_as_the_model_thinks(self) -> None:
        assert frequencies(Sampling(1.0, 1.0, "key")) == pytest.approx(CHANCES.numpy(), abs=0.03)

    @pytest.mark.parametrize("temperature", [0.5, 2.0])
    def test_a_temperature_divides_the_logits(self, temperature: float) -> None:
        expected = (CHANCES.log() / temperature).softmax(-1).numpy()
        assert frequencies(Sampling(temperature, 1.0, "key")) == pytest.approx(expected, abs=0.03)

    @pytest.mark.parametrize(
        ("top_p", "kept"), [(0.4, [1]), (0.5, [1]), (0.6, [1, 3]), (0.8, [1, 2, 3]), (1.0, [0, 1, 2, 3])]
    )
    def test_a_nucleus_keeps_the_likeliest_up_to_the_one_that_crosses_its_mass(
        self, top_p: float, kept: list[int]
    ) -> None:
        expected = np.zeros(len(CHANCES))
        expected[kept] = CHANCES[kept] / CHANCES[kept].sum()
        found = frequencies(Sampling(1.0, top_p, "key"))
        assert np.flatnonzero(found).tolist() == kept
        assert found == pytest.approx(expected, abs=0.03)

    def test_a_row_draws_the_same_in_any_company_and_anew_at_each_step(self) -> None:
        sampling, logits = Sampling(1.0, 1.0, "key"), CHANCES.log()
        everybody = sampling.choice(range(50), n_steps=2)
        few = sampling.choice([7, 3], n_steps=2)
        by_step = [everybody(logits.expand(50, -1), range(50), step) for step in (0, 1)]
        for step in (0, 1):
            assert few(logits.expand(2, -1), [0, 1], step) == [by_step[step][7], by_step[step][3]]
            assert everybody(logits.expand(2, -1), [7, 3], step) == [by_step[step][7], by_step[step][3]]
        assert by_step[0] != by_step[1]

    def test_another_key_draws_otherwise(self) -> None:
        first, second = (
            Sampling(1.0, 1.0, key).choice(range(50), n_steps=1)(CHANCES.log().expand(50, -1), range(50), 0)
            for key in ("a", "b")
        )
        assert first != second

    def test_greedy_takes_the_likeliest(self) -> None:
        assert greedy(torch.stack([CHANCES, CHANCES.flip(0)]), [0, 1], 0) == [1, 2]


@pytest.mark.parametrize("family", Family)
@torch.inference_mode()
def test_a_branch_and_the_rows_that_are_kept_or_repeated_go_on_as_if_alone(family: Family) -> None:
    torch.manual_seed(0)
    shape = Shape(hidden=16, layers=2, heads=2, key_value_heads=1)
    model = random_model(family, shape, vocabulary_size=64, end_token=0).eval()
    prompts = [[7, 8, 9], [10, 11, 12, 13, 14], [15], [16, 17]]
    begun = WrittenBatch(model, [[5, 6]], pad_token=0, device=torch.device("cpu"))
    batch = begun.repeated(4)
    batch.append(prompts)
    batch.branch().append([[3, 4, 5]] * 4)
    batch.keep([1, 3])
    batch.append([[21, 22], [23]])
    begun.append([[30]])
    assert torch.allclose(begun.logits[0], model(input_ids=torch.tensor([[5, 6, 30]])).logits[0, -1], atol=1e-5)
    for row, tokens in enumerate([[5, 6, *prompts[1], 21, 22], [5, 6, *prompts[3], 23]]):
        expected = model(input_ids=torch.tensor([tokens])).logits[0, -1]
        assert torch.allclose(batch.logits[row], expected, atol=1e-5)
