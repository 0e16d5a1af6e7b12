"""A toy language model and tokenizer-free wording: small enough to do every loss and gradient by hand."""

from types import SimpleNamespace

import torch

from workers.examples.tokenizing.tokens import AnswerTokens
from workers.training.views import Scaffold, View

CPU = torch.device("cpu")
VOCABULARY = 24
YES, NO, DELIMITER, BREAK, FILLER, END = 1, 2, 3, 4, 5, 6
WORDS = Scaffold(
    answer=AnswerTokens(
        after_rationale={True: [BREAK, DELIMITER, YES], False: [BREAK, DELIMITER, NO]},
        alone={True: [DELIMITER, YES], False: [DELIMITER, NO]},
        forced=[BREAK, DELIMITER],
        opening=[DELIMITER],
        label_ids={True: [YES], False: [NO]},
        spellings={True: [[YES]], False: [[NO]]},
        closers=frozenset({DELIMITER}),
        end=END,
        ends=frozenset({END}),
        bos=[],
    ),
    line_break=[BREAK],
    filler=FILLER,
    label_prefix=[7, 8],
    rationale_prefix=[7, 9],
)


class ToyModel(torch.nn.Module):
    """Predicts the next token from the mean of the embeddings so far; padding and position count as in a real one."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embedding = torch.nn.Parameter(torch.randn(VOCABULARY, 6, generator=generator))
        self.output = torch.nn.Parameter(torch.randn(VOCABULARY, 6, generator=generator))

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        *,
        logits_to_keep: int = 0,
        use_cache: bool = False,
    ) -> SimpleNamespace:
        seen = (self.embedding[input_ids] * attention_mask[..., None]).cumsum(1)
        hidden = seen / (position_ids[..., None] + 1)
        return SimpleNamespace(logits=torch.tanh(hidden[:, -logits_to_keep:]) @ self.output.T)


def losses_by_hand(model: ToyModel, view: View) -> torch.Tensor:
    """Loss of each target token of one view, unpadded, one after the other; shape (n_target_tokens,)."""
    tokens = [*view.prompt, *view.target]
    losses = []
    for place in range(len(view.prompt), len(tokens)):
        hidden = torch.tanh(model.embedding[tokens[:place]].mean(0))
        losses.append(-torch.log_softmax(model.output @ hidden, 0)[tokens[place]])
    return torch.stack(losses)
