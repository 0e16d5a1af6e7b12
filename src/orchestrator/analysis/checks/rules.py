"""What an answer follows from and no study file says; sealed with the analysis plan, for a later version may differ."""

from collections.abc import Mapping
from types import MappingProxyType

from workers.contract.recipes.scorings import Scoring

CONFIDENCE = 0.95
# What a leak is at least taken to give; ours.
LEAK = 0.10
# The marker alone ranks at its share of agreement, 0.95: a model that reads its prompt comes close.
AUC_OF_PLANTED_SIGNAL = 0.80
# A model that failed to train ranks nobody; what it counts as in the sensitivity analysis.
AUC_OF_FAILURE = 0.5

RULES: Mapping[str, str] = MappingProxyType(
    {
        "primary_scoring": Scoring.STRICT,
        "confidence": f"{CONFIDENCE:g}",
        "smallest_leak": f"{LEAK:g}",
        "auc_of_planted_signal": f"{AUC_OF_PLANTED_SIGNAL:g}",
        "auc_of_failed_trials": f"{AUC_OF_FAILURE:g}",
    }
)
