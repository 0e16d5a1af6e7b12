"""The protocol's reference table of the Framingham data, ours beside it; and what a leak would have added.

Run by hand: `python tests/benchmarks/framingham_reference.py`, some minutes on one core.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.cohorts.framingham_table import CURRENT_EXAM, LEAKS, TABLE, Row, columns_of, cross_validated_auc, load_task
from workers.contract.trial import Method


def main() -> None:
    """Print the table in Markdown: ours, the protocol's in brackets, and a mark where they differ too much."""
    started = time.monotonic()
    headings = [cell.name for cell in TABLE[0].cells]
    write("| task | rows / people | events | " + " | ".join(headings) + " |")
    write("|---" * (3 + len(headings)) + "|")
    for row in TABLE:
        write(line_of(row))
    task = load_task(TABLE[0])
    for leak, expected in LEAKS.items():
        auc = cross_validated_auc(task, Method.LOGISTIC, (*CURRENT_EXAM, *leak))
        write(f"leak {' and '.join(leak)}: {auc:.3f} ({expected:.3f})")
    write(f"{time.monotonic() - started:.0f} s")


def line_of(row: Row) -> str:
    """One task of the table."""
    task = load_task(row)
    n_people, n_events = task.exams["RANDID"].nunique(), task.outcomes.sum()
    shown = []
    for cell in row.cells:
        auc = cross_validated_auc(task, cell.method, columns_of(cell.features))
        mark = "" if abs(auc - cell.auc) <= cell.tolerance else " off"
        shown.append(f"{auc:.3f} ({cell.auc:.3f}){mark}")
    shown += ["–"] * (len(TABLE[0].cells) - len(shown))
    return f"| {row.name} | {len(task.exams):,} / {n_people:,} | {n_events:,} | " + " | ".join(shown) + " |"


def write(line: str) -> None:
    """Print as it comes: the whole takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
