"""How `sweep doctor` looks on a terminal: a line a check, and below it what to do."""

from collections import Counter
from typing import TYPE_CHECKING

from orchestrator.doctor.check import Grade

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.doctor.diagnosis import Diagnosis

STYLES = {Grade.OK: "green", Grade.WARN: "yellow", Grade.FAIL: "red"}


def show_diagnosis(console: "Console", found: "Diagnosis") -> None:
    """All checks, then how many there are of each grade."""
    from rich.text import Text

    width = max(len(check.name) for check in found.checks)
    for check in found.checks:
        line = Text(f"{check.grade:<5}", STYLES[check.grade]).append(f"{check.name:<{width}}  {check.what}", "default")
        console.print(line)
        if check.remedy:
            console.print(Text(f"{'':<5}{'':<{width}}  → {check.remedy}"))
    counts = Counter(check.grade for check in found.checks)
    console.print(", ".join(f"{counts[grade]} {grade}" for grade in Grade))
