"""The tokenizer of somebody else's model: there, readable, within the embedding, and with an end of text."""

from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from workers.contract.errors import InputError, Problem
from workers.contract.system.sources import VOCABULARIES
from workers.models.reading.files import read_json

# Digits, capitals, punctuation, spaces in a row, line breaks and an accent: where ways of cutting words part.
SET_END = "set eos_token in its tokenizer_config.json to a token that the model knows"
PROBE = "Man, age 1234.  Didn't smoke: BMI 24.5 (Sjögren?)\n\n - HbA1c 48\tmmol/mol\nAnswer: yes"


def read_tokenizer(place: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a model's folder.

    Raises:
        InputError: There is none, or its files can't be read.
    """
    remedy = "save it beside the model: AutoTokenizer.from_pretrained(…).save_pretrained(folder)"
    if not any(path for pattern in VOCABULARIES for path in place.glob(pattern)):
        raise InputError(Problem("bases", f"{place} has no tokenizer", remedy))
    if twins := _twins(place / "tokenizer.json"):
        what = f"{place / 'tokenizer.json'} gives {' and '.join(twins)} one id"
        raise InputError(Problem("bases", what, "give every token an id of its own"))
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        if _differs_from_its_file(tokenizer, place):
            tokenizer = PreTrainedTokenizerFast.from_pretrained(place)
    except Exception as error:  # noqa: BLE001 - the tokenizers library raises nothing narrower
        what = f"the tokenizer in {place} can't be read ({type(error).__name__})"
        raise InputError(Problem("bases", what, remedy)) from None
    return tokenizer


def _twins(path: Path) -> list[str]:
    """Two tokens of a tokenizer's file that share an id, of which the library would keep one at random."""
    content = read_json(path) if path.is_file() else {}
    vocabulary = (content.get("model") or {}).get("vocab")
    by_id: dict[object, str] = {}
    for token, number in vocabulary.items() if isinstance(vocabulary, dict) else ():
        if by_id.setdefault(number, token) != token:
            return [repr(by_id[number]), repr(token)]
    return []


def _differs_from_its_file(tokenizer: PreTrainedTokenizerBase, place: Path) -> bool:
    """Whether transformers put an architecture's usual way of cutting words in place of the file's own.

    It does for some architectures (Qwen 2), whatever the file says, and the model would read tokens it does not know.
    """
    path = place / "tokenizer.json"
    if not path.is_file():
        return False
    by_file = Tokenizer.from_file(str(path))
    by_file.no_truncation()
    by_file.no_padding()
    ids = by_file.encode(PROBE, add_special_tokens=False).ids
    return bool(tokenizer(PROBE, add_special_tokens=False)["input_ids"] != ids)


def name_end(tokenizer: PreTrainedTokenizerBase, *, where: Path, end: int | None = None) -> None:
    """Give a tokenizer without an end of text the one that the model's other files name.

    Raises:
        InputError: Neither names one.
    """
    if tokenizer.eos_token_id is not None:
        return
    if end is None:
        raise InputError(Problem("bases", f"{where} names no end of text, neither tokenizer nor model", SET_END))
    token = tokenizer.convert_ids_to_tokens(end) if 0 <= end < len(tokenizer) else None
    if token is None:
        what = f"{where} ends its texts by the id {end}, for which its tokenizer has no token"
        raise InputError(Problem("bases", what, SET_END))
    tokenizer.eos_token = token


def fit_tokenizer(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, *, where: Path, end: int | None = None
) -> None:
    """See that all tokens have an embedding, and give a tokenizer without an end of text the one that is named.

    Args:
        end: The id of an end of text that the model's other files name.

    Raises:
        InputError: A token is beyond the embedding, or neither tokenizer nor model names an end of text.
    """
    name_end(tokenizer, where=where, end=end)
    last = model.get_input_embeddings().weight.shape[0] - 1
    if tokenizer.eos_token_id > last:
        token, end = tokenizer.eos_token, tokenizer.eos_token_id
        what = f"{where}: the end of text {token} has the id {end}, the embedding ends at {last}"
        raise InputError(Problem("bases", what, SET_END))
    token, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if largest > last:
        what = f"{where}: the tokenizer's {token} has the id {largest}, the embedding ends at {last}"
        raise InputError(Problem("bases", what, "give the tokenizer that was saved with the model"))
