"""A text ends where its listener has heard enough, not where the library would end it."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from workers.contract.answers.proof import RowsTogether
from workers.scoring.choosing import Choice
from workers.scoring.listening import Counting
from workers.scoring.sessions import Plain

END = 3


def always(token: int) -> Choice:
    return lambda _, rows, __: [token] * len(rows)


def test_an_end_in_the_bases_configuration_does_not_end_a_text() -> None:
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        eos_token_id=END,
        bos_token_id=None,
    )
    session = Plain(LlamaForCausalLM(config).eval(), [[1, 2], [2]], pad_token=0, together=RowsTogether.PADDED)
    listeners = [Counting(4), Counting(2)]

    with torch.inference_mode():
        session.write(always(END), listeners)

    assert [listener.tokens for listener in listeners] == [[END] * 4, [END] * 2]
