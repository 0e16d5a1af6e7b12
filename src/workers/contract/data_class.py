"""How closely a cohort's records are kept: one table, which every rule asks. No part of an id."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Rules:
    """What a class turns on.

    min_cell: Counts from 1 to this are not shown, where the study names no other.
    may_be_committed: Files about single participants may lie in a git work tree.
    may_be_sent: Records may go to another machine's endpoint, where the study says nothing of it.
    adapters_are_checked: An adapter leaves the store only after a membership check.
    use: What the report says of the use of what was found.
    """

    min_cell: int
    may_be_committed: bool
    may_be_sent: bool
    adapters_are_checked: bool
    use: str


class DataClass(StrEnum):
    """Whose records they are: nobody's, anybody's to read, or entrusted under an agreement."""

    SYNTHETIC = "synthetic"
    PUBLIC = "public"
    CONTROLLED = "controlled"

    @property
    def rules(self) -> Rules:
        """What follows from it."""
        return RULES[self]


# Protocol, section 8. An unknown data set is hidden as the strictest of the known ones are.
RULES = {
    DataClass.SYNTHETIC: Rules(
        min_cell=0,
        may_be_committed=True,
        may_be_sent=True,
        adapters_are_checked=False,
        use="every participant is invented by a generator; no medical conclusion follows, and no model that was "
        "trained on them may tell anybody a risk.",
    ),
    DataClass.PUBLIC: Rules(
        min_cell=5,
        may_be_committed=False,
        may_be_sent=False,
        adapters_are_checked=False,
        use="records that anybody may obtain. For research on methods, not for the care of patients; read scores of "
        "subgroups with caution.",
    ),
    DataClass.CONTROLLED: Rules(
        min_cell=20,
        may_be_committed=False,
        may_be_sent=False,
        adapters_are_checked=True,
        use="records entrusted for research. Models trained on them may remember them: adapters and predictions stay "
        "where the records may be, and no adapter leaves without a membership check. Not for the care of patients; "
        "read scores of subgroups with caution.",
    ),
}
