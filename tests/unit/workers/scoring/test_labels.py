"""P(yes) over labels of one token and of several, against chances multiplied by hand."""

import pytest
import torch
from transformers import GenerationConfig, PreTrainedModel

from support.bases import tokenizers as made
from support.bases.brought import new
from workers.contract.answers.proof import RowsTogether
from workers.examples.tokenizing.tokens import AnswerTokens, answer_tokens
from workers.models.architectures import Family, Shape, random_model
from workers.scoring.labels import read_labels
from workers.scoring.openers import opener_of

PROMPTS = [[70, 71, 72], [80, 81, 82, 83, 84], [90]]


def model_for(answer: AnswerTokens, n_tokens: int) -> PreTrainedModel:
    torch.manual_seed(0)
    shape = Shape(hidden=16, layers=2, heads=2, key_value_heads=1)
    model = random_model(Family.LLAMA, shape, vocabulary_size=n_tokens, end_token=answer.end).eval()
    model.generation_config = GenerationConfig()
    return model


@torch.inference_mode()
def by_hand(model: PreTrainedModel, answer: AnswerTokens, text: list[int]) -> tuple[float, float]:
    """P(yes | yes or no) and the mass of neither: every spelling's tokens one after the other."""
    masses = dict.fromkeys((True, False), 0.0)
    for label, spellings in answer.spellings.items():
        for spelling in spellings:
            chance, said = 1.0, list(text)
            for token in spelling:
                chance *= float(model(input_ids=torch.tensor([said])).logits[0, -1].double().softmax(-1)[token])
                said.append(token)
            masses[label] += chance
    return masses[True] / sum(masses.values()), 1 - sum(masses.values())


@pytest.mark.parametrize("together", [way for way in RowsTogether if way is not RowsTogether.CACHED])
@torch.inference_mode()
def test_the_tokens_of_a_label_are_multiplied_and_its_spellings_added(together: RowsTogether) -> None:
    tokenizer = made.by_bytes()
    answer = answer_tokens(tokenizer, new(thoughts="unmarked"))
    assert {len(spelling) for both in answer.spellings.values() for spelling in both} > {2}
    model = model_for(answer, len(tokenizer))
    session = opener_of(model, pad_token=answer.end, together=together).begin(PROMPTS, prefix=[60])
    found = read_labels(session, [answer.opening] * len(PROMPTS), answer)
    for row, prompt in enumerate(PROMPTS):
        expected = by_hand(model, answer, [60, *prompt, *answer.opening])
        assert (found.p_yes[row], found.off_label[row]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("together", RowsTogether)
@torch.inference_mode()
def test_labels_of_one_token_are_read_in_one_place(together: RowsTogether) -> None:
    tokenizer = made.chatml()
    answer = answer_tokens(tokenizer)
    model = model_for(answer, len(tokenizer))
    session = opener_of(model, pad_token=answer.end, together=together).begin(PROMPTS, prefix=[])
    found = read_labels(session, [answer.opening] * len(PROMPTS), answer)
    for row, prompt in enumerate(PROMPTS):
        assert found.p_yes[row] == pytest.approx(by_hand(model, answer, [*prompt, *answer.opening])[0], abs=1e-6)
