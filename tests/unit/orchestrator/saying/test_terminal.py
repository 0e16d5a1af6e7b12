"""The one console: people's text comes out as it went in, whole, and steers nothing."""

import io
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text
from rich.tree import Tree

from orchestrator.cli.options import print_json
from orchestrator.saying.terminal import Terminal, print_table, working
from support.launches.command_line import sweep

SAID = st.text(st.sampled_from("[]/\\redbold:smile_ \x1b\x9b\u202eé数"), min_size=1, max_size=30)


def written(*texts: str | Text | Tree, width: int = 80, is_terminal: bool = False) -> str:
    out = io.StringIO()
    console = Terminal(file=out, width=width, force_terminal=is_terminal)
    for text in texts:
        console.print(text)
    return out.getvalue()


def table(columns: list[str], rows: list[list[str]], *, width: int = 80, is_terminal: bool = False) -> str:
    out = io.StringIO()
    print_table(Terminal(file=out, width=width, force_terminal=is_terminal), columns, rows)
    return out.getvalue()


@pytest.mark.parametrize("text", ["[/foo]", "[red]x[/red]", "urate above 7 [mg/dL]", "a[/b]/x.db", ":smile: 3:4"])
def test_a_text_is_never_markup(text: str) -> None:
    assert written(text) == f"{text}\n"
    assert written(Text("excluded: ").append(text, "bold")) == f"excluded: {text}\n"
    assert table([text], [[text]]) == f"{text}\n{text}\n"


@given(SAID)
def test_whatever_is_said_sends_no_escape_and_loses_nothing(text: str) -> None:
    shown = text.replace("\x1b", r"\x1b").replace("\x9b", r"\x9b").replace("\u202e", r"\u202e")
    assert written(text) == f"{shown}\n"
    assert table(["said"], [[text]]).splitlines()[1:] == [shown.rstrip()]
    console = Terminal(file=io.StringIO(), force_terminal=True)
    with console.capture() as captured:
        console.print(Text("ok ", "green").append(text, "bold"), style="red")
    assert Text.from_ansi(captured.get()).plain == f"ok {shown}\n"


def test_what_others_lay_out_sends_no_escape_either() -> None:
    tree = Tree(Text("a\x1b[31mb"))
    tree.add("c\x9bd")
    assert written(tree).split() == [r"a\x1b[31mb", "└──", r"c\x9bd"]


def test_styles_of_our_own_reach_a_terminal() -> None:
    assert "\x1b[1mx\x1b[0m" in written(Text("x", "bold"), is_terminal=True)


def test_no_line_and_no_cell_is_cut_or_wrapped_in_a_pipe() -> None:
    line = "a word " * 100
    assert written(line, width=20) == f"{line}\n"
    columns = [f"column_{n}" for n in range(50)]
    head, *rows = table(columns, [["x" * 60] * 50] * 3, width=20).splitlines()
    assert head.split() == columns
    assert [row.split() for row in rows] == [["x" * 60] * 50] * 3


def test_columns_stand_below_each_other_whatever_the_script() -> None:
    lines = table(["name", "n"], [["数据", "1"], ["two\nlines", "22"]]).splitlines()
    assert lines == ["name        n", "数据        1", r"two\nlines  22"]


def test_a_table_wider_than_its_terminal_is_a_block_a_row() -> None:
    text = table(["trial", "why"], [["a1", "x" * 30], ["b2", "y"]], width=20, is_terminal=True)
    plain = Text.from_ansi(text).plain
    assert plain == f"trial  a1\nwhy    {'x' * 30}\n\ntrial  b2\nwhy    y\n"


def test_a_table_without_rows_is_its_head() -> None:
    assert table(["trial", "why"], []) == "trial  why\n"


def test_8000_rows_cost_little_more_than_their_json(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [[f"{row}-{column}" for column in range(20)] for row in range(8_000)]
    started = time.process_time()
    print_json([dict(enumerate(row)) for row in rows])
    as_json, started = time.process_time() - started, time.process_time()
    assert len(table([str(column) for column in range(20)], rows).splitlines()) == 8_001
    assert time.process_time() - started < 3 * as_json
    capsys.readouterr()


def test_what_is_no_number_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [float("nan"), (float("inf"), 1.5)], "b": {"c": float("-inf")}, "d": "\x1b\u202e"})
    text = capsys.readouterr().out
    assert json.loads(text) == {"a": [None, [None, 1.5]], "b": {"c": None}, "d": "\x1b\u202e"}
    assert text.isascii() and "\x1b" not in text


@pytest.mark.parametrize("words", [("pl\x1b[31man",), ("plan", "--\x1b[31m"), ("plan", "no\x1b[31m\u202e.yaml")])
def test_an_error_about_a_word_of_the_command_line_sends_no_escape(words: tuple[str, ...], tmp_path: Path) -> None:
    done = sweep(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert r"\x1b[31m" in done.stderr
    assert not {"\x1b", "\u202e"} & set(done.stderr + done.stdout)


def test_long_work_is_told_of_in_a_log_now_and_then() -> None:
    now, file = [0.0], io.StringIO()
    with working(Terminal(file=file), "reading", clock=lambda: now[0]) as tell:
        for n in range(1, 62):
            now[0] = float(n)
            tell(n, 61)
    assert file.getvalue().splitlines() == ["reading: 30 of 61", "reading: 60 of 61"]
