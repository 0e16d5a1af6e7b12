"""Stored trials scored again from their adapters, on the cache and plainly, against the predictions committed.

`python tests/benchmarks/rescoring.py STORE [N]`: the first N trials (ten) in a store's folder, which stays as it is.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from workers.contract.answers.proof import RowsTogether
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.trial import Method
from workers.models.adapters import stored_adapter
from workers.scoring.evaluating import score_model, tabulated
from workers.work.bench import Bench, Work, unheard


@dataclass
class Again(Work):
    """A committed trial, scored in a way of this benchmark's."""

    way: RowsTogether = RowsTogether.CACHED

    @property
    def rows_together(self) -> RowsTogether:
        """The way that is tried."""
        return self.way


def auc(rows: pd.DataFrame) -> float:
    held_out = rows[rows["split"] == "held_out"]
    return float(roc_auc_score(held_out["label"], held_out["p_strict"], sample_weight=held_out["sampling_weight"]))


def main(store: Path, n_trials: int) -> None:
    layout, bench = StoreLayout(store.resolve()), Bench()
    outcomes = [Outcome.load(path) for path in sorted(layout.trials.glob("*/outcome.json"))]
    trained = [one for one in outcomes if one.trial.spec.method is Method.LORA and one.state == "scored"]
    sys.stdout.write("trial             way     seconds  largest of P(yes)  validity flipped  change of AUC\n")
    for outcome in trained[:n_trials]:
        folder = layout.trial(outcome.trial_id) / outcome.attempt
        stored = pd.read_parquet(folder / "predictions.parquet")
        for way in (RowsTogether.CACHED, RowsTogether.PADDED):
            with tempfile.TemporaryDirectory() as scratch:
                work = Again(spec=outcome.trial.spec, layout=layout, folder=Path(scratch), bench=bench, way=way)
                base, answer = work.base
                with stored_adapter(base.model, folder / "adapter") as model:
                    read = unheard(score_model(work, model.eval(), base, answer, adapter=folder / "adapter"))
                rows = tabulated(work, read, invalid_score=outcome.train_prevalence)
            same = (rows["validity"] == stored["validity"]).to_numpy()
            apart = np.abs(rows["p_forced"] - stored["p_forced"])[same].max()
            sys.stdout.write(
                f"{outcome.trial_id}  {way:<7} {work.meter.score_wall_s:7.1f}  {apart:17.1e}  "
                f"{int((~same).sum()):16}  {abs(auc(rows) - auc(stored)):13.1e}\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10)
