"""What each injected fault cost, as measured in this session; printed at its end."""

from dataclasses import dataclass, field

COLUMNS = ("fault", "what happened", "lost", "duplicated", "recovery, s")


@dataclass
class FaultTable:
    """One row a fault, in the order in which they were injected."""

    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)

    def add(
        self, fault: str, happened: str, *, lost: int | str = 0, duplicated: int | str = 0, recovery_s: float | None
    ) -> None:
        """Enter a row.

        Args:
            lost: Committed trials that were gone afterwards.
            duplicated: Committed trials that were executed once more.
            recovery_s: From the fault until the trial ran again or the launch ended, as `happened` says.
        """
        seconds = "–" if recovery_s is None else f"{recovery_s:.1f}"
        self.rows.append((fault, happened, str(lost), str(duplicated), seconds))

    def lines(self) -> list[str]:
        """As Markdown."""
        head = [f"| {' | '.join(COLUMNS)} |", "|---|---|---|---|---|"]
        return head + [f"| {' | '.join(row)} |" for row in self.rows]
