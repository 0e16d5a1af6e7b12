"""What a query answers: a table for people, CSV for programs."""

import csv
import sys
from typing import TYPE_CHECKING

from orchestrator.saying.terminal import print_table

if TYPE_CHECKING:
    from orchestrator.saying.terminal import Terminal
    from orchestrator.store.dataset.query import QueryResult


def show_rows(console: "Terminal", answer: "QueryResult") -> None:
    """A table as wide as it is in a pipe; on a terminal without columns that are null in every row, which it says."""
    kept = list(range(len(answer.columns)))
    if console.is_terminal and answer.rows:
        kept = [n for n in kept if any(row[n] is not None for row in answer.rows)]
    rows = ([_said(row[n]) for n in kept] for row in answer.rows)
    print_table(console, [answer.columns[n] for n in kept], rows)
    if n_left_out := len(answer.columns) - len(kept):
        columns = "1 column is" if n_left_out == 1 else f"{n_left_out} columns are"
        console.print(f"{columns} null in every row and left out here, not in a pipe", style="dim")


def write_csv(answer: "QueryResult") -> None:
    """Every digit; what is null stays empty."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows(answer.rows)


def _said(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
