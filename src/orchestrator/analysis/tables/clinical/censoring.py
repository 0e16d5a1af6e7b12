"""The primary contrast with those who were lost before the horizon stood for by people who were followed as long.

Whoever is lost is left out of the labels; if they fare otherwise, that biases. Weights take those who stay as given:
they mend loss by chance in time, not loss for a reason. The interval takes the weights as known.
Source: protocol, section 3.1; Blanche et al., Statistics in Medicine 2013.
"""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.analysis.resampling.bootstrap import Estimate, bootstrap_aucs
from orchestrator.analysis.resampling.held_out import HeldOut
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring

NOBODY_LOST = "nobody was lost before the horizon"
NOT_TOLD = "the cohort tells no follow-up, or the trials are from before it was kept"


class CensoringReading(Record):
    """The primary difference under strict scoring, weighted; null for the `reason`."""

    weighted: Estimate | None
    reason: str | None = None


def censoring_reading(
    weights: Mapping[str, float], held_out: HeldOut | None, *, n_replicates: int, seed: int
) -> CensoringReading | None:
    """The contrast again, each example weighing more the likelier its loss was; null without a complete cell.

    Args:
        weights: Of the trials in the primary contrast's pooled difference.
    """
    if held_out is None or not weights:
        return None
    if held_out.censoring is None:
        return CensoringReading(weighted=None, reason=NOT_TOLD)
    if (held_out.censoring == 1).all():
        return CensoringReading(weighted=None, reason=NOBODY_LOST)
    rows = [held_out.trial_ids.index(trial_id) for trial_id in weights]
    stood_for = replace(
        held_out,
        trial_ids=tuple(weights),
        weight=held_out.weight * held_out.censoring,
        risks={Scoring.STRICT: held_out.risks[Scoring.STRICT][rows]},
    )
    aucs = bootstrap_aucs(stood_for, n_replicates=n_replicates, seed=seed)
    return CensoringReading(weighted=aucs[Scoring.STRICT].estimate(weights))
