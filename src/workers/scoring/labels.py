"""P(yes) from the logits that follow a text: over every spelling of the two labels, of one token or of several.

Source: protocol, section 3.5: log-probabilities of a label's tokens are summed, not normalised by length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from workers.examples.tokenizing.tokens import AnswerTokens
from workers.scoring.sessions import Session

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Read:
    """P(yes | yes or no) of each row, and what neither label gets; arrays of shape (n_rows,), in [0, 1]."""

    p_yes: FloatArray
    off_label: FloatArray


def read_labels(session: Session, further: Sequence[list[int]], answer: AnswerTokens) -> Read:
    """Read the labels after each row's text and these tokens; the session is spent by it."""
    parts = sorted({tuple(one[:n]) for both in answer.spellings.values() for one in both for n in range(1, len(one))})
    after = {part: session.branch().read([[*more, *part] for more in further]) for part in parts}
    after[()] = session.read(further)
    if not parts:
        yes, no = (after[()][:, answer.label_ids[label]].logsumexp(-1) for label in (True, False))
        mass = (torch.logaddexp(yes, no) - after[()].logsumexp(-1)).double().exp()
    else:
        chances = {part: logits.double().log_softmax(-1) for part, logits in after.items()}
        yes, no = (_log_chance(answer.spellings[label], chances) for label in (True, False))
        mass = torch.logaddexp(yes, no).exp()
    return Read(torch.sigmoid((yes - no).double()).cpu().numpy(), (1.0 - mass).clamp(min=0.0).cpu().numpy())


def _log_chance(spellings: Sequence[list[int]], chances: dict[tuple[int, ...], torch.Tensor]) -> torch.Tensor:
    """Log-probability of any of these spellings, shape (n_rows,)."""
    spelt = [
        torch.stack([chances[tuple(one[:n])][:, token] for n, token in enumerate(one)]).sum(0) for one in spellings
    ]
    return torch.stack(spelt).logsumexp(0)
