"""Whether the rows of a batch disturb each other: the same prompts scored alone, together, and in another order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from workers.contract.answers.proof import Disturbance, RowsTogether
from workers.contract.errors import InputError, Problem
from workers.contract.trial import Precision
from workers.examples.tokens import AnswerTokens
from workers.scoring.choosing import greedy
from workers.scoring.labels import read_labels
from workers.scoring.listening import Counting
from workers.scoring.openers import opener_of

FloatArray = npt.NDArray[np.float64]

# Of P(yes): rounding stays a hundred times below in float32; in bfloat16 a logit has three digits.
MOST_DISTURBED: dict[Precision, float] = {"float32": 1e-4, "bfloat16": 0.05}
# Each of eight rows writes so many tokens, so that they end at different times.
WRITTEN = (1, 6, 2, 8, 3, 5, 1, 4)
IN_ORDER = range(len(WRITTEN))
N_SHARED = 3  # tokens that all prompts begin with, which go through first where a base keeps a cache
# A window of so many tokens is passed in a moment; that of a larger one is known from the configuration alone.
SMALL_WINDOW = 160
RECORD = (
    "Woman, age 64. Systolic pressure 142, high. Total cholesterol 251, raised. Body mass index 27, normal. "
    "Smokes 10 cigarettes a day. Glucose 98, normal. Heart rate 74, normal. Takes no pressure medicine. "
)
# What the library and its models raise where a way of running them does not exist.
IMPOSSIBLE = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, eq=False)
class _Got:
    """What the rows of one pass got, in the order of the prompts."""

    direct: FloatArray
    forced: FloatArray
    texts: list[list[int]]


@torch.inference_mode()
def try_company(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answer: AnswerTokens, *, precision: Precision
) -> tuple[RowsTogether, dict[RowsTogether, Disturbance]]:
    """The first way of going through a model in which no row disturbs another, and what was seen of those tried.

    Raises:
        InputError: Even alone, a row's scores change from pass to pass, or the model can't write or be read at all.
    """
    prompts = _prompts(tokenizer, window=smallest_window(model.config))
    try:
        alone = _scored(model, answer, prompts, RowsTogether.ALONE)
    except IMPOSSIBLE as error:
        what = f"{model.config.model_type} can't be scored here ({type(error).__name__}: {first_line(error)})"
        raise InputError(Problem("bases", what, "choose a base that transformers can generate with")) from None
    tried: dict[RowsTogether, Disturbance] = {}
    for way in _ways(model.config, answer):
        try:
            tried[way] = _disturbance(model, answer, prompts, alone, way)
        except IMPOSSIBLE:
            continue
        if _holds(tried[way], precision):
            return way, tried
    what = f"{model.config.model_type} gives a row other scores from one pass to the next"
    raise InputError(Problem("bases", what, "choose a base without random numbers in evaluation"))


def _holds(seen: Disturbance, precision: Precision) -> bool:
    """In bfloat16 a written text may flip at a tie; what is read after given tokens may not."""
    may_flip = precision != "float32"
    return seen.largest <= MOST_DISTURBED[precision] and (may_flip or seen.n_flipped == 0)


def _ways(config: PretrainedConfig, answer: AnswerTokens) -> list[RowsTogether]:
    """What is worth a try: a probe is too short to see a large window, or a rope that follows the longest row."""
    ways = list(RowsTogether)
    spellings = [one for both in answer.spellings.values() for one in both]
    if not attends_to_everything(config) or any(len(one) > 1 for one in spellings):
        ways.remove(RowsTogether.CACHED)
    if rope_follows_longest_row(config):
        ways = [way for way in ways if way in {RowsTogether.EVEN, RowsTogether.ALONE}]
    return ways


def smallest_window(config: PretrainedConfig) -> int | None:
    """Tokens that the narrowest layer looks back on; null where all look back on everything."""
    text = config.get_text_config()
    sizes = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size", "attention_window_size")]
    kinds = set(getattr(text, "layer_types", None) or ())
    if kinds == {"full_attention"} or getattr(text, "use_sliding_window", None) is False:
        return None
    return min((size for size in sizes if isinstance(size, int) and size > 0), default=None)


def attends_to_everything(config: PretrainedConfig) -> bool:
    """Whether every layer is plain attention over all that came before, places told apart by rotation."""
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    return smallest_window(config) is None and kinds == {"full_attention"} and not getattr(text, "alibi", False)


def rope_follows_longest_row(config: PretrainedConfig) -> bool:
    """Whether the factors of a rope change once any row of a batch passes the original window."""
    rope = getattr(config.get_text_config(), "rope_parameters", None) or {}
    kinds = {str(part.get("rope_type")) for part in [rope, *rope.values()] if isinstance(part, dict)}
    return bool(kinds & {"longrope", "dynamic"})


def _prompts(tokenizer: PreTrainedTokenizerBase, *, window: int | None) -> list[list[int]]:
    """Eight beginnings of one record, of different lengths; two longer than a small window."""
    tokens: list[int] = tokenizer(RECORD, add_special_tokens=False)["input_ids"]
    lengths = [len(tokens) * part // 8 for part in (2, 3, 4, 5, 6, 7, 8)] + [len(tokens) * 2 // 8]
    if window is not None and window <= SMALL_WINDOW:
        lengths[2] = lengths[5] = window + len(tokens) // 2
    endless = tokens * (1 + max(lengths) // max(1, len(tokens)))
    return [[*tokens[:N_SHARED], *endless[row : row + length]] for row, length in enumerate(lengths)]


def _scored(
    model: PreTrainedModel,
    answer: AnswerTokens,
    prompts: list[list[int]],
    way: RowsTogether,
    *,
    n_shared: int = 0,
    order: Sequence[int] = IN_ORDER,
) -> _Got:
    opener = opener_of(model, pad_token=answer.end, together=way)
    session = opener.begin([prompts[row][n_shared:] for row in order], prefix=prompts[0][:n_shared])
    direct = read_labels(session.branch(), [answer.opening] * len(prompts), answer)
    listeners = [Counting(WRITTEN[row]) for row in order]
    session.write(greedy, listeners)
    forced = read_labels(session, [answer.forced] * len(prompts), answer)
    back = np.argsort(order)
    return _Got(direct.p_yes[back], forced.p_yes[back], [listeners[place].tokens for place in back])


def _disturbance(
    model: PreTrainedModel, answer: AnswerTokens, prompts: list[list[int]], alone: _Got, way: RowsTogether
) -> Disturbance:
    """Together, then in another order behind what all share; a row whose text flipped is compared before it alone."""
    backwards = range(len(prompts))[::-1]
    passes = [
        _scored(model, answer, prompts, way),
        _scored(model, answer, prompts, way, n_shared=N_SHARED, order=backwards),
    ]
    flipped = np.array([[one != other for one, other in zip(got.texts, alone.texts, strict=True)] for got in passes])
    direct = np.array([got.direct - alone.direct for got in passes])
    forced = np.where(flipped, 0.0, [got.forced - alone.forced for got in passes])
    return Disturbance(
        largest=float(np.abs([direct, forced]).max()), n_flipped=int(flipped.any(0).sum()), n_rows=len(prompts)
    )


def first_line(error: Exception) -> str:
    """What a library says of a model, short; no data has come near it."""
    return next(iter(str(error).splitlines()), "")[:160]
