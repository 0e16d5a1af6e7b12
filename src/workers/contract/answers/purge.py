"""What a worker is asked to remove of a store, and what it answers: counts and digests, never what it looked for."""

from pydantic import Field

from workers.contract.answers.findings import Answer
from workers.contract.outcome import Record
from workers.contract.recipes.recipe import Recipe


class PurgeOrder(Recipe):
    """A store whose participant data are to go.

    databases: Further files that are searched for what may be left, such as a tracking database elsewhere.
    """

    store: str
    databases: tuple[str, ...] = ()


class Removed(Record):
    """One part of a store that went.

    digest: SHA-256 of the names and SHA-256 of its files, sorted.
    """

    n_files: int
    n_bytes: int
    digest: str


class Proof(Record):
    """What was searched for in all that is left, and where it was found.

    n_identifiers: Participants' identifiers as their source has them, of 5 letters or digits or more.
    n_short: Shorter ones, which could be any number: they are searched for as pseudonyms alone.
    n_pseudonyms: Identifiers as hashed with the store's salt, of participants and of examples.
    n_spans: Pieces of texts, each of which stands in one example's text alone.
    hits: How many different ones of these stand in a file, by its path.
    unread: Files that could not be read: the needles' own sources, or where they were to be looked for.
    """

    n_identifiers: int = 0
    n_short: int = 0
    n_pseudonyms: int = 0
    n_spans: int = 0
    n_files: int = 0
    n_bytes: int = 0
    hits: dict[str, int] = Field(default={})
    unread: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing was found, and nothing was left out."""
        return not self.hits and not self.unread


class PurgeFindings(Answer):
    """What went, by part, and the proof; none of it where the order was refused."""

    removed: dict[str, Removed] = Field(default={})
    proof: Proof | None = None
