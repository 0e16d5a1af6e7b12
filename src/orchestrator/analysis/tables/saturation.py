"""How far each scoring can still rank: distinct scores, extreme ones, ties, entropy, by supervision.

Source: protocol, section 3.5.
"""

from statistics import fmean

from orchestrator.analysis.results import Results
from orchestrator.analysis.tables.scores import fine_tuned, mean_of_known
from orchestrator.design.grid import Design
from orchestrator.disclosure import coarse
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import SCORINGS, Scoring
from workers.contract.recipes.teaching import Supervision


class SaturationRow(Record):
    """Means over the scored trials of one supervision under one scoring, on held_out.

    Shares and ties are coarse: from exact ones the number of invalid outputs of a small class would follow.
    """

    supervision: Supervision
    scoring: Scoring
    n_trials: int
    n_distinct: float
    share_extreme: float
    mean_entropy: float
    tie_rate: float | None
    mean_off_label_mass: float | None


def saturation_rows(design: Design, results: Results) -> tuple[SaturationRow, ...]:
    """Every supervision under every scoring that has been looked at; empty for older outcomes."""
    trained = fine_tuned(design.trials)
    rows = []
    for supervision in dict.fromkeys(trial.spec.supervision for trial in trained if trial.spec.supervision):
        ids = [trial.trial_id for trial in fine_tuned(trained, supervision) if results.is_scored(trial.trial_id)]
        splits = [results.outcomes[trial_id].scores["held_out"] for trial_id in ids]
        for scoring in SCORINGS:
            found = [split.saturation[scoring] for split in splits if scoring in split.saturation]
            tie_rate = mean_of_known(one.tie_rate for one in found)
            if found:
                rows.append(
                    SaturationRow(
                        supervision=supervision,
                        scoring=scoring,
                        n_trials=len(found),
                        n_distinct=fmean(one.n_distinct for one in found),
                        share_extreme=coarse(
                            fmean(one.share_extreme for one in found), n_examples=splits[0].n_examples
                        ),
                        mean_entropy=fmean(one.mean_entropy for one in found),
                        tie_rate=None if tie_rate is None else coarse(tie_rate, n_examples=splits[0].n_examples),
                        mean_off_label_mass=mean_of_known(one.mean_off_label_mass for one in found),
                    )
                )
    return tuple(rows)
