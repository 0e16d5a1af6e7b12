"""Where people read: the one console of all commands. Text is text there: never markup, never cut, never an escape.

Nothing else writes to a terminal but JSON, and errors (`cli/main.py`), which are made visible likewise.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from workers.contract.system.visible import visible, visible_line

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType

GAP = "  "
# Where nothing is drawn in place, a log grows by no more than that.
SAY_EVERY_S = 30.0


class Terminal(Console):
    """A console that takes a text as it is: no markup or emoji codes in it, no line cut, prose alone wrapped."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # of a console
        super().__init__(**options, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def render(self, renderable: "RenderableType", options: "ConsoleOptions | None" = None) -> Iterable[Segment]:
        """What is written, piece by piece; only what styles and moves is ever sent as control characters."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def print_prose(console: Console, text: str | Text) -> None:
    """Print what is read and not copied: on a terminal no word or number of it is broken in two."""
    console.print(text, soft_wrap=not console.is_terminal)


@contextmanager
def working(
    console: Console, what: str, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """Show that something long goes on, and how far it is: in place on a terminal, else by a line now and then."""
    said_s = clock()
    with console.status(what) as status:

        def tell(n_done: int, n_total: int) -> None:
            nonlocal said_s
            line = f"{what}: {n_done:,} of {n_total:,}"
            if console.is_terminal:
                status.update(line)
            elif clock() - said_s >= SAY_EVERY_S:
                said_s = clock()
                console.print(line)

        yield tell


def painted(console: Console, style: str) -> Callable[[str], str]:
    """What puts a style around a text, if this console has any."""
    with console.capture() as captured:
        console.print(Text("|", style), end="")
    before, after = captured.get().split("|")
    return lambda text: f"{before}{text}{after}"


def print_table(
    console: Console, columns: Sequence[str], rows: Iterable[Sequence[str]], *, n_left: int | None = None
) -> None:
    """Print one line a row, however wide; on a terminal that is narrower, one block a row.

    Written as it is: laid out by rich, 8,000 rows took 3 s of CPU.

    Args:
        n_left: How many columns are aligned to the left, the others being numbers; all of them where it is null.
    """
    head = [visible_line(name) for name in columns]
    body = [[visible_line(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(head, *body, strict=True)]
    bold = painted(console, "bold")
    if console.is_terminal and sum(widths) + len(GAP) * (len(widths) - 1) > console.width:
        label = max(map(cell_len, head))
        names = [bold(set_cell_size(name, label)) for name in head]
        blocks = ("".join(f"{name}{GAP}{cell}\n" for name, cell in zip(names, row, strict=True)) for row in body)
        console.file.write("\n".join(blocks))
        return
    n_left = len(head) if n_left is None else n_left

    def line(cells: Sequence[str]) -> str:
        left = map(set_cell_size, cells[:n_left], widths)
        return GAP.join([*left, *map(_filled, cells[n_left:], widths[n_left:])]).rstrip()

    console.file.write("".join(f"{each}\n" for each in (bold(line(head)), *map(line, body))))


def _filled(text: str, width: int) -> str:
    return " " * (width - cell_len(text)) + text
