"""What an answer follows from and no study file says; sealed with the analysis plan, for a later version may differ."""

from collections.abc import Mapping
from types import MappingProxyType

from orchestrator.analysis.bootstrap import CONFIDENCE
from orchestrator.analysis.checks.leak import LEAK
from orchestrator.analysis.checks.verdict import AUC_OF_PLANTED_SIGNAL
from orchestrator.analysis.contrasts import AUC_OF_FAILURE
from workers.contract.recipes.scorings import Scoring

RULES: Mapping[str, str] = MappingProxyType(
    {
        "primary_scoring": Scoring.STRICT,
        "confidence": f"{CONFIDENCE:g}",
        "smallest_leak": f"{LEAK:g}",
        "auc_of_planted_signal": f"{AUC_OF_PLANTED_SIGNAL:g}",
        "auc_of_failed_trials": f"{AUC_OF_FAILURE:g}",
    }
)
