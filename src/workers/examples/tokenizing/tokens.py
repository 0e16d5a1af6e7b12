"""Prompts and targets as token ids. Prompt, rationale and answer are tokenised apart, so no merge crosses a border."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from workers.contract.errors import InputError, Problem
from workers.contract.recipes.bases import CHAT, BaseSettings
from workers.examples.targets import DELIMITER, answer_line
from workers.examples.tokenizing.encoding import TEXT, Encoder
from workers.examples.tokenizing.thoughts import Thought, thought_of
from workers.examples.tokenizing.wrapping import beginning_of, end_of_turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A tokenizer may spell the space before the label with the delimiter.
DELIMITER_AT_END = re.compile(rf"(?:^|\n)\s*{DELIMITER} ?$")
GENERATION_CONFIG = "generation_config.json"
# With offsets and marks the library keeps about 100 bytes a token until the texts of one call are all encoded.
TEXTS_AT_ONCE = 1_000
Lines = dict[bool, list[int]]
Spelled = tuple[list[int], list[int]]


@dataclass(frozen=True)
class AnswerTokens:
    """How one tokenizer spells the answer line and its labels, begins a prompt, and ends a text or a thought.

    after_rationale, alone: token ids of the answer line by label, with and without the line break before it.
    forced, opening: the same without the label: up to the delimiter, and what yes and no share behind it.
    spellings: all token sequences that count as that label after `opening`, in pairs, by label.
    label_ids: those of them that are single tokens, in pairs, by label; none where every spelling takes several.
    closers: tokens that end as the delimiter does; only after one of them can an answer line be complete.
    end: the token that a trained target ends in.
    ends: every token that ends a text.
    bos: what every prompt begins with, once, before task prefix and demonstrations; it is not in the prompts' files.
    thought: how the base parts thoughts from answers; null where it does not, or nobody asks.
    """

    after_rationale: Lines
    alone: Lines
    forced: list[int]
    opening: list[int]
    label_ids: Lines
    spellings: dict[bool, list[list[int]]]
    closers: frozenset[int]
    end: int
    ends: frozenset[int]
    bos: list[int]
    thought: Thought | None = None

    def label(self, *, has_event: bool) -> list[int]:
        """The tokens of the trained label alone."""
        return self.alone[has_event][len(self.opening) :]

    def ending(self, *, has_event: bool, is_explained: bool) -> list[int]:
        """What a target has after its rationale, or has alone: the answer line, an open thought closed before it."""
        if self.thought is not None and self.thought.is_open:
            return [*self.thought.close, *self.alone[has_event]]
        return (self.after_rationale if is_explained else self.alone)[has_event]

    def target(self, rationale: list[int], *, has_event: bool) -> list[int]:
        """The whole target, end token included."""
        return [*rationale, *self.ending(has_event=has_event, is_explained=bool(rationale)), self.end]

    @property
    def longest(self) -> int:
        """Tokens of the longest ending of a target, end token included."""
        return max(len(self.ending(has_event=label, is_explained=True)) + 1 for label in (True, False))


def answer_tokens(
    tokenizer: "PreTrainedTokenizerBase", settings: BaseSettings | None = None, *, folder: Path | None = None
) -> AnswerTokens:
    """Read off a tokenizer how it writes the answer line.

    Args:
        settings: Those of the base; the usual ones by default.
        folder: Of the prepared base, whose generation config may name more ends.

    Raises:
        InputError: The answer line or its labels can't be read back from their tokens, or nothing ends a text.
    """
    settings = settings or BaseSettings()
    encoder = Encoder.of(tokenizer, settings)
    after, alone = answer_lines(encoder, is_explained=True), answer_lines(encoder, is_explained=False)
    if encoder.is_split:
        _refuse_unreadable(encoder, after, alone)
    pairs = [(encoder.go_on(yes), encoder.go_on(no)) for yes, no in settings.label_spellings]
    if not encoder.is_split and ([alone[True][-1]], [alone[False][-1]]) in pairs:
        # As stored trials have it: single tokens alone, and all but the last token before them.
        opening, forced = alone[True][:-1], after[True][:-1]
        pairs = [(yes, no) for yes, no in pairs if len(yes) == len(no) == 1]
    else:
        opening, forced = _without_label(encoder, alone), _without_label(encoder, after)
    pairs = _told_apart([*pairs, (alone[True][len(opening) :], alone[False][len(opening) :])])
    single = [(yes[0], no[0]) for yes, no in pairs if len(yes) == len(no) == 1]
    end, ends = _ends(settings, tokenizer, folder)
    thought = thought_of(settings, encoder)
    _refuse_ends_within([*alone[True], *alone[False], *forced, *(thought.close if thought else [])], ends, tokenizer)
    return AnswerTokens(
        after_rationale=after,
        alone=alone,
        forced=forced,
        opening=opening,
        label_ids={True: [yes for yes, _ in single], False: [no for _, no in single]},
        spellings={True: [yes for yes, _ in pairs], False: [no for _, no in pairs]},
        closers=frozenset(
            token for token in range(len(tokenizer)) if tokenizer.decode([token]).rstrip(" ").endswith(DELIMITER[-1])
        ),
        end=end,
        ends=ends,
        bos=beginning_of(settings, tokenizer),
        thought=thought,
    )


def _refuse_ends_within(line: list[int], ends: frozenset[int], tokenizer: "PreTrainedTokenizerBase") -> None:
    """What ends a text can't be a part of the answer line, which would then never be written."""
    if within := ends & set(line):
        what = f"the end of text {tokenizer.decode([min(within)])!r} is a part of the answer line"
        raise InputError(Problem("bases", what, "mend eos_token_id in its generation_config.json"))


def answer_lines(encoder: Encoder, *, is_explained: bool) -> Lines:
    """Token ids of the answer line by label; after a rationale with the line break before it."""
    before = "\n" if is_explained else ""
    return {label: encoder.go_on(f"{before}{answer_line(label)}") for label in (True, False)}


def _refuse_unreadable(encoder: Encoder, after: Lines, alone: Lines) -> None:
    """What is trained must read as an answer line: a tokenizer may lose line breaks, case or spaces."""
    rationale = encoder.begin("x")
    for label in (True, False):
        for tokens, wanted in ((after[label], f"\n{answer_line(label)}"), (alone[label], answer_line(label))):
            text = encoder.tokenizer.decode([*rationale, *tokens], clean_up_tokenization_spaces=False)
            if not text.endswith(wanted):
                what = f"its tokenizer does not give {wanted!r} back from its tokens"
                raise InputError(Problem("bases", what, "choose a base whose tokenizer keeps case, spaces and lines"))


def _without_label(encoder: Encoder, lines: Lines) -> list[int]:
    """What the yes and the no line share, up to the token that ends the delimiter."""
    shared = []
    for yes, no in zip(lines[True], lines[False], strict=False):
        if yes != no:
            break
        shared.append(yes)
        if encoder.tokenizer.decode(shared).rstrip().endswith(DELIMITER):
            break
    return shared


def _told_apart(pairs: Sequence[Spelled]) -> list[Spelled]:
    """Every pair of spellings once: two are one where the tokenizer writes the leading space itself.

    Raises:
        InputError: A spelling has no token, or a yes and a no can't be told apart because one begins the other.
    """
    remedy = "mend label_spellings, or choose a base whose tokenizer knows the words"
    kept = [pair for place, pair in enumerate(pairs) if pair not in pairs[:place]]
    if not all(yes and no for yes, no in kept):
        raise InputError(Problem("bases", "its tokenizer spells a 'yes' or a 'no' with no token at all", remedy))
    for (yes, _), (_, no) in product(kept, kept):
        shorter = min(len(yes), len(no))
        if yes[:shorter] == no[:shorter]:
            raise InputError(Problem("bases", "its tokens of a 'yes' begin those of a 'no', or agree", remedy))
    return kept


def _ends(
    settings: BaseSettings, tokenizer: "PreTrainedTokenizerBase", folder: Path | None
) -> tuple[int, frozenset[int]]:
    """What a trained target ends in, and all that ends a text."""
    eos: int | None = tokenizer.eos_token_id
    if settings.ends == "eos":
        if eos is None:
            raise InputError(Problem("bases", "its tokenizer names no eos token", "write ends: all, or add one to it"))
        return int(eos), frozenset({int(eos)})
    of_turn = end_of_turn(settings, tokenizer)
    named = _generation_ends(folder, n_tokens=len(tokenizer))
    trained = [of_turn, eos] if settings.prompt_format == CHAT else [eos, of_turn]
    known = [int(token) for token in (*trained, *named) if token is not None]
    if not known:
        what = "neither its tokenizer, its generation config nor its chat template names a token that ends a text"
        raise InputError(Problem("bases", what, "add an eos token to its tokenizer"))
    return known[0], frozenset(known)


def _generation_ends(folder: Path | None, *, n_tokens: int) -> list[int]:
    """The ends that a generation config names; none where it is absent or can't be read."""
    try:
        written = json.loads(((folder or Path()) / GENERATION_CONFIG).read_bytes()) if folder else {}
        named = written.get("eos_token_id")
    except (OSError, ValueError, AttributeError):
        return []
    listed = named if isinstance(named, list) else [named]
    return [token for token in listed if type(token) is int and 0 <= token < n_tokens]


def tokenise(
    texts: pd.DataFrame,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    wrapping: str | None = TEXT,
    special_tokens: Literal["parsed", "split"] = "parsed",
    beginning: Sequence[int] = (),
) -> pd.DataFrame:
    """Token ids of every text; same rows and columns, each cell an array of ids.

    Args:
        wrapping: What each text is put into first; null for texts that follow a prompt.
        beginning: What a wrapping may write and is left out here, because a prompt begins with it once.
    """
    encoder = Encoder(tokenizer, special_tokens)
    first = list(beginning)
    columns: dict[str, list[npt.NDArray[np.int64]]] = {}
    for name, column in texts.items():
        arrays = columns.setdefault(str(name), [])
        for opening in range(0, len(column), TEXTS_AT_ONCE):
            part = column.iloc[opening : opening + TEXTS_AT_ONCE].tolist()
            cells = encoder.continuations(part) if wrapping is None else encoder.wrapped(part, wrapping)
            whole = (ids[len(first) :] if first and ids[: len(first)] == first else ids for ids in cells)
            arrays += [np.asarray(ids, dtype=np.int64) for ids in whole]
    return pd.DataFrame(columns)
