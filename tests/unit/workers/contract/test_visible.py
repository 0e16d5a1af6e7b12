"""What a terminal may be sent: text that can't steer it, whatever people wrote."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contract.system.visible import visible, visible_line

BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
ANYTHING = st.text(st.characters(codec=None, exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("bell\x07 back\x08 null\x00 delete\x7f", r"bell\x07 back\x08 null\x00 delete\x7f"),
        ("\x9b2J", r"\x9b2J"),
        ("cr\rtab\t", r"cr\rtab\t"),
        ("yes\u202eon", r"yes\u202eon"),
        ("\udcff", r"\udcff"),
        ("two\nlines", "two\nlines"),
        ("über 数据 🧪 [/red] :smile:", "über 数据 🧪 [/red] :smile:"),
    ],
)
def test_what_steers_a_terminal_is_spelled_and_all_else_stays(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(ANYTHING)
def test_nothing_that_steers_is_left_and_every_line_can_be_encoded(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(sign) for sign in shown if sign != "\n"} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(sign) for sign in shown} & BIDIRECTIONAL
    assert visible(shown) == shown
    assert shown.encode().decode() == shown
    assert "\n" not in visible_line(text)
