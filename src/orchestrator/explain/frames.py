"""A store as data frames, for a notebook: what its trials scored, every prediction, every step, every contrast.

What is blinded stays so: until a study may be read its frames hold tuning scores alone, as everywhere else.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.store.dataset.query import query_table
from workers.contract.errors import InputError, Problem, StoreError
from workers.contract.files import true_path
from workers.contract.layout import StoreLayout
from workers.contract.recipes.scorings import SCORINGS
from workers.contract.system.opening import open_store as opened

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from orchestrator.analysis.findings import Findings
    from orchestrator.study.study import Study

CONTRASTS = ["contrast", "scoring", "layer", "covers", "difference", "low", "high", "n_cells"]


@dataclass(frozen=True, repr=False)
class StoreFrames:
    """A study's store; the frames are those of its dataset, or, while a launch runs, of what has ended so far.

    Every method raises StoreError where no trial has ended, or where the dataset is damaged.
    """

    study: "Study"
    layout: StoreLayout

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.layout.root)!r})"

    def trials(self) -> "pd.DataFrame":
        """One row a trial: ids, axes, scores of both splits under each scoring, cost, provenance."""
        return self.query("select * from trials")

    def predictions(self) -> "pd.DataFrame":
        """One row a trial and example: probabilities from 0 to 1, the outcome, salted hashes for identifiers."""
        return self.query("select * from predictions")

    def history(self) -> "pd.DataFrame":
        """One row a trial and optimizer step: loss, learning rate, gradient norm."""
        return self.query("select * from history")

    def query(self, sql: str) -> "pd.DataFrame":
        """The answer to one read-only statement over these tables."""
        frame: pd.DataFrame = self.arrow(sql).to_pandas()
        return frame

    def arrow(self, sql: str) -> "pa.Table":
        """The same as an Arrow table."""
        return query_table(self.layout, sql)

    def contrasts(self) -> "pd.DataFrame":
        """One row a contrast, scoring and layer of uncertainty that the design supports.

        `difference`, `low` and `high` are in ROC-AUC, from -1 to 1; `covers` says what the interval holds for.
        """
        import pandas as pd

        rows = [
            (
                contrast.name,
                str(scoring),
                layer.name,
                layer.covers,
                estimate.value,
                estimate.low,
                estimate.high,
                contrast.n_cells,
            )
            for contrast in self.findings.contrasts
            for layer in contrast.layers
            for scoring in SCORINGS
            if (estimate := layer[scoring]) is not None
        ]
        return pd.DataFrame(rows, columns=CONTRASTS)

    @cached_property
    def findings(self) -> "Findings":
        """All that the report says, as records; computed once, about half a minute at 500 trials of 1,000 people."""
        from orchestrator.design.grid import expand
        from orchestrator.launch.reporting import find_out
        from orchestrator.store.outcomes import read_store

        held = read_store(self.layout)
        if not held.outcomes.committed:
            raise StoreError(f"{self.layout.root}: holds no trial yet; run `sweep run` until one has ended")
        return find_out(self.study, expand(self.study), self.layout, held)


def open_store(path: str | Path) -> StoreFrames:
    """The store in a folder, to be read; raises InputError where it is none."""
    from orchestrator.study.study import load_sealed

    try:
        layout = opened(true_path(Path(path).expanduser()))
        what = "" if layout.study.is_file() else "is no store folder"
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        what = f"is no path of a folder that can be read ({getattr(error, 'strerror', None) or error})"
    if what:
        raise InputError(Problem(str(path) or ".", what, "name one that `sweep run` made, e.g. store/quickstart"))
    return StoreFrames(load_sealed(layout.study), layout)
