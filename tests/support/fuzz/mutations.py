"""Sound documents, spoiled: bytes are cut, moved and put in; values of JSON are replaced, renamed and taken away.

What happens to a document is drawn as a few bytes, so that hypothesis can shrink it.
"""

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Draft = tuple[int, bytes]
# Of one change: what is done, where (two bytes), with which piece, and how much of it.
# Copies of copies grow without end, and to make them takes longer than to read them.
MOST_PLACES = 2_000
SIZE = 5
MOST_CHANGES = 6

PIECES = [
    *(b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\xc2\x9b", b"\xef\xbb\xbf", b"\x1b[31m", b"\r", b"\n", b"\t", b" "),
    *(b"\x85", b"'", b'"', b'"""', b",", b";", b":", b": ", b"- ", b"[", b"]", b"{", b"}", b"#", b"|", b">", b"%"),
    *(b"@", b"`", b"&a ", b"*a", b"<<: ", b"!!set ", b"!!binary ", b"!x ", b"!<", b"!%", b"? ", b"---\n", b"...\n"),
    *(b"%YAML 1.1\n---\n", b"\\u0000", b"0", b"-1", b"9" * 400, b"1e999", b"-1e308", b"5e-324", b".nan", b"nan"),
    *(b"inf", b"0x10", b"0o8", b"1_0", b"NaN", b"Infinity", b"null", b"~", b"true", b"yes", b"NA", b"None", b""),
    *(b"2000-02-31", b"2010", b"2010-03", b"9999-12-31", b"0001-01-01", b"2010-01-01T10:00Z", b"T10:00:00-05:00"),
    *(b"../../x", b"/", b"x" * 3000, b"[" * 300, b"{" * 300, b'{"a":' * 300, "é🙂\u202e".encode(), b"<|end|>"),
    *(b"Answer: yes", b"=1+1"),
]
DEEP: list[Any] = []
for _ in range(60):
    DEEP = [DEEP]
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 2**31, 2**63, 2**64, 10**30, 10**400, 0.5, -0.0, 1e308, -1e308, 5e-324),
    *(float("nan"), float("inf"), float("-inf"), "", " ", "\n", "a", "NA", "null", "1", "1e999", "-9", "2000-02-31"),
    *("9999-12-31", "0001-01-01", "2010", "2010-01-01T00:00:00Z", "../../outside", "/", "a\0b", "\x1b[31m", "\ud800"),
    *("é🙂" * 50, "x" * 5000, [], {}, [[]], {"": None}, [None] * 40, [1, 1], ["a", "a"], {"kind": "folder"}, {"a": 1}),
    *(DEEP, {"a": DEEP}, "Answer: yes", "<|end|>", "{prompt}"),
]


def drafts(n_documents: int) -> SearchStrategy[Draft]:
    """Which document is taken, and what is done to it."""
    return st.tuples(st.integers(0, n_documents - 1), st.binary(min_size=SIZE, max_size=SIZE * MOST_CHANGES))


def spoiled_bytes(document: bytes, changes: bytes) -> bytes:
    """A document after changes that know nothing of its form."""
    for at in range(0, len(changes) - SIZE + 1, SIZE):
        what, high, low, piece, size = changes[at : at + SIZE]
        place = (high << 8 | low) * len(document) >> 16
        end = min(len(document), place + 1 + size // 4)
        new = PIECES[piece % len(PIECES)]
        before, middle, after = document[:place], document[place:end], document[end:]
        match what % 7:
            case 0:
                document = before + new + document[place:]
            case 1:
                document = before + new + after
            case 2:
                document = before + after
            case 3:
                document = before + middle * (2 + piece % 30) + after
            case 4:
                document = before + bytes([(middle or b"\0")[0] ^ 1 << piece % 8]) + document[place + 1 :]
            case 5:
                document = document[:place]
            case 6:
                document = after + new + before
    return document


def spoiled_json(document: Any, changes: bytes) -> Any:  # noqa: ANN401  # a JSON value
    """A JSON value after changes that keep it one."""
    whole = [json.loads(json.dumps(document))]
    for at in range(0, len(changes) - SIZE + 1, SIZE):
        what, high, low, piece, size = changes[at : at + SIZE]
        places = list(_places(whole))
        if len(places) > MOST_PLACES:
            break
        holder, key = places[(high << 8 | low) * len(places) >> 16]
        new = copy.deepcopy(ODD[piece % len(ODD)])  # it is changed in its turn
        match what % 6:
            case 0 | 1:
                holder[key] = new
            case 2:
                del holder[key]
            case 3 if isinstance(holder, dict):
                holder[str(new)[:200] if not isinstance(new, list | dict) else "x"] = holder.pop(key)
            case 4 if isinstance(holder[key], list):
                holder[key] = holder[key] * (size % 40)
            case 5:
                other, name = places[size * len(places) >> 8]
                if _is_there(other, name):
                    holder[key] = json.loads(json.dumps(other[name]))
        whole = whole or [None]
    return whole[0]


def _places(value: Any) -> "list[tuple[Any, Any]]":  # noqa: ANN401  # a JSON value
    """Every place of a value within what holds it, or the first of very many."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting and len(found) <= MOST_PLACES:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    return found


def _is_there(holder: Any, key: Any) -> bool:  # noqa: ANN401  # a JSON value
    return key in holder if isinstance(holder, dict) else key < len(holder)


def either(documents: Sequence[Any], write: Callable[[Any], bytes], draft: Draft) -> bytes:
    """A spoiled document: in its values where the changes are of even number, else in its bytes."""
    which, changes = draft
    if len(changes) // SIZE % 2:
        return spoiled_bytes(write(documents[which]), changes)
    return write(spoiled_json(documents[which], changes))
