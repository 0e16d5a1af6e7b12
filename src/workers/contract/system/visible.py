"""Text of people (names, keys, cells, messages) as a terminal may be sent it: what would steer it is shown instead.

Escape sequences, other control characters, signs that turn the direction of writing, and halves of characters.
"""

import re

# Cc but the line feed, Zl, Zp, the marks and overrides of direction (Unicode TR 9), surrogates.
STEERING = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)  # fmt: skip


def visible(text: str) -> str:
    r"""The text with each such character spelled as in Python, `\x1b`; line feeds stay, for they make lines."""
    return STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_line(text: str) -> str:
    r"""The same in one line: a line feed becomes `\n`."""
    return visible(text).replace("\n", r"\n")
