"""Bases before they are made: configuration and tokenizer, which tell in seconds what a trial asks of a base.

Nothing is pre-trained and no weights are read. What a sketch says the made base says too: both are written alike.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from workers.contract.errors import Problem
from workers.contract.inputs import InputKind, Manifest, bases_of, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.trial import WorkOrder


@dataclass(frozen=True)
class Sketches:
    """The sketches of one call, by the base's recipe; of a base that the store holds, its own folder.

    crowded: why a base that teaches has no room, by the recipe of its rationales; empty where it has.
    """

    folder: Path
    made: dict[str, Path] = field(default_factory=dict)
    crowded: dict[str, list[Problem]] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator["Sketches"]:
        """An empty collection; its folder goes with the block."""
        with tempfile.TemporaryDirectory() as folder:
            yield cls(Path(folder))

    def of(self, order: WorkOrder, layout: StoreLayout, kind: InputKind = InputKind.BASE) -> Path:
        """The folder with configuration and tokenizer of a trial's base, or of the one that teaches it.

        Raises:
            InputError: The base's files are absent, others, or can't be read.
        """
        base = bases_of(order.trial.spec).get(kind)
        if base is None:
            raise ValueError("a trial without a base has none to sketch")
        digest = input_recipes(order.trial.spec)[kind].digest()
        if digest not in self.made:
            manifest = Manifest.load(layout.manifest(digest))
            if manifest is not None:
                self.made[digest] = layout.input(digest) / manifest.folder
            else:
                from workers.models.base import sketch

                place = self.folder / digest
                place.mkdir(exist_ok=True)
                sketch(base, place, sources=order.sources)
                self.made[digest] = place
        return self.made[digest]
