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
from workers.examples.tokenizing.tokens import AnswerTokens
from workers.scoring.choosing import greedy
from workers.scoring.engines.engine import CANNOT_RUN, first_line
from workers.scoring.labels import read_labels
from workers.scoring.listening import Counting
from workers.scoring.openers import opener_of

FloatArray = npt.NDArray[np.float64]

# Of P(yes): rounding stays a hundred times below in float32; in bfloat16 a logit has three digits, in TF32 four.
MOST_DISTURBED: dict[Precision, float] = {"float32": 1e-4, "tf32": 0.01, "bfloat16": 0.05}
# Of logits, as a share of the largest, between a text read once and the same text read token by token.
MOST_CONTRADICTED: dict[Precision, float] = {"float32": 1e-3, "tf32": 0.01, "bfloat16": 0.06}
# Each of eight rows writes so many tokens, so that they end at different times.
WRITTEN = (1, 6, 2, 8, 3, 5, 1, 4)
REREAD = (3, 5)  # of these what they wrote is read again: the longest text, and one behind a window
IN_ORDER = range(len(WRITTEN))
N_SHARED = 3  # tokens that all prompts begin with, which go through first where a base keeps a cache
# A window of so many tokens is passed in a moment; that of a larger one is known from the configuration alone.
SMALL_WINDOW = 160
WINDOWS = ("sliding_window", "sliding_window_size", "attention_chunk_size", "attention_window_size", "window_size")
# What architectures call a layer that looks back on all that came before.
EVERYTHING = frozenset({"full_attention", "global"})
RECORD = (
    "Woman, age 64. Systolic pressure 142, high. Total cholesterol 251, raised. Body mass index 27, normal. "
    "Smokes 10 cigarettes a day. Glucose 98, normal. Heart rate 74, normal. Takes no pressure medicine. "
)
# What the library and its models raise where a way of running them does not exist.
IMPOSSIBLE = (AssertionError, *CANNOT_RUN)


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
    if problem := _contradiction(model, prompts, alone, precision):
        raise InputError(problem)
    tried: dict[RowsTogether, Disturbance] = {}
    for way in _ways(model.config, answer):
        try:
            passes = _together(model, answer, prompts, way)
        except IMPOSSIBLE:
            continue
        tried[way] = _disturbance(passes, alone)
        if _holds(model, prompts, tried[way], passes, precision):
            return way, tried
    raise InputError(_random(model))


@torch.inference_mode()
def disturbance(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answer: AnswerTokens, way: RowsTogether
) -> Disturbance:
    """How far one way is from each row alone, whether a base of this kind may go it or not."""
    prompts = _prompts(tokenizer, window=smallest_window(model.config))
    return _disturbance(_together(model, answer, prompts, way), _scored(model, answer, prompts, RowsTogether.ALONE))


def _contradiction(
    model: PreTrainedModel, prompts: list[list[int]], alone: _Got, precision: Precision
) -> Problem | None:
    """What a base says of a text that can't be so, whoever else is in the batch."""
    kind = model.config.model_type
    if not np.isfinite([alone.direct, alone.forced]).all():
        what = f"{kind} gives probabilities that are no numbers"
        return Problem("bases", what, "check its weights for values that are not finite")
    if rope_follows_longest_row(model.config):  # may turn while a text is written
        return None
    for row in REREAD:
        prompt, text = prompts[row], alone.texts[row]
        before, after = _logits(model, prompt, 1), _logits(model, [*prompt, *text], len(text) + 1)
        allowed = MOST_CONTRADICTED[precision] * float(after.abs().max())
        if not _differ_by(before[0], after[0]) <= allowed:
            if not _differ_by(before, _logits(model, prompt, 1)) <= allowed:
                return _random(model)
            return Problem("bases", f"{kind} looks ahead at what comes after a token", "choose a decoder-only model")
        if not _unlikely(after, text) <= MOST_CONTRADICTED[precision]:
            what = f"{kind} writes other tokens on its own cache than it holds for the likeliest without one"
            return Problem("bases", what, "choose a base that transformers can generate with")
    return None


def _unlikely(after: torch.Tensor, text: list[int]) -> float:
    """How far a written token was from the likeliest at most, as a share of the largest logit; of a greedy text 0.

    Args:
        after: Logits of the same text read at once, from before its first token on; shape (n_tokens + 1, vocabulary).
    """
    written = after[:-1].gather(1, torch.tensor(text, device=after.device)[:, None])[:, 0]
    return float((after[:-1].amax(-1) - written).max() / after.abs().max())


def _random(model: PreTrainedModel) -> Problem:
    what = f"{model.config.model_type} gives a row other scores from one pass to the next"
    return Problem("bases", what, "choose a base without random numbers in evaluation")


def _differ_by(some: torch.Tensor, others: torch.Tensor) -> float:
    return float((some - others).abs().max())


def _logits(model: PreTrainedModel, text: list[int], n_last: int) -> torch.Tensor:
    """After the last so many tokens of one text, in one pass without a cache; shape (n_last, vocabulary)."""
    device = next(model.parameters()).device
    ids = torch.tensor([text], device=device)
    output = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, logits_to_keep=n_last)
    logits: torch.Tensor = output.logits[0, -n_last:].float()
    return logits


def _holds(
    model: PreTrainedModel, prompts: list[list[int]], seen: Disturbance, passes: list[_Got], precision: Precision
) -> bool:
    """But in float32 a written text may flip, at a tie alone; what is read after given tokens may not."""
    if not seen.largest <= MOST_DISTURBED[precision]:
        return False
    if seen.n_flipped == 0 or precision == "float32":
        return seen.n_flipped == 0
    written = {(row, *got.texts[row]): (prompts[row], got.texts[row]) for got in passes for row in IN_ORDER}
    return all(
        _unlikely(_logits(model, [*prompt, *text], len(text) + 1), text) <= MOST_CONTRADICTED[precision]
        for prompt, text in written.values()
    )


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
    sizes = [getattr(text, name, None) for name in WINDOWS]
    kinds = _kinds_of_layers(text)
    if (kinds and kinds <= EVERYTHING) or getattr(text, "use_sliding_window", None) is False:
        return None
    return min((size for size in sizes if isinstance(size, int) and size > 0), default=None)


def attends_to_everything(config: PretrainedConfig) -> bool:
    """Whether every layer is plain attention over all that came before, places told apart by rotation."""
    text = config.get_text_config()
    return (
        smallest_window(config) is None and _kinds_of_layers(text) <= EVERYTHING and not getattr(text, "alibi", False)
    )


def _kinds_of_layers(text: PretrainedConfig) -> set[str]:
    names = ("layer_types", "attention_layers", "block_types")
    return {str(kind) for name in names for kind in getattr(text, name, None) or ()}


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


def _together(model: PreTrainedModel, answer: AnswerTokens, prompts: list[list[int]], way: RowsTogether) -> list[_Got]:
    """All at once, then in another order behind what all share."""
    backwards = range(len(prompts))[::-1]
    return [
        _scored(model, answer, prompts, way),
        _scored(model, answer, prompts, way, n_shared=N_SHARED, order=backwards),
    ]


def _disturbance(passes: list[_Got], alone: _Got) -> Disturbance:
    """A row whose text flipped is compared before its text alone."""
    flipped = np.array([[one != other for one, other in zip(got.texts, alone.texts, strict=True)] for got in passes])
    direct = np.array([got.direct - alone.direct for got in passes])
    forced = np.where(flipped, 0.0, [got.forced - alone.forced for got in passes])
    return Disturbance(
        largest=float(np.abs([direct, forced]).max()), n_flipped=int(flipped.any(0).sum()), n_rows=len(alone.texts)
    )
