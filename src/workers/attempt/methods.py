"""Which method does what: from a laid-out work and its training set to what was read of tuning and held_out."""

from collections.abc import Callable, Mapping

from workers.contract.trial import Method
from workers.scoring.engines.chosen import check_engine
from workers.scoring.evaluating import score_classical, score_untrained
from workers.scoring.few_shot import score_few_shot
from workers.training.fine_tuning import fine_tune
from workers.training.head import fine_tune_head
from workers.work.bench import Predicting, Work
from workers.work.training_set import TrainingSet

CARRIED_OUT_BY: Mapping[Method, Callable[[Work, TrainingSet], Predicting]] = {
    Method.LORA: fine_tune,
    Method.FEW_SHOT: score_few_shot,
    Method.HEAD: fine_tune_head,
    Method.ZERO_SHOT: score_untrained,
    Method.PREVALENCE: score_classical,
    Method.AGE_SEX: score_classical,
    Method.LOGISTIC: score_classical,
    Method.BOOSTING: score_classical,
}


def carry_out(work: Work, taught: TrainingSet) -> Predicting:
    """Fit what the method fits and return what it reads of each scored row."""
    if work.spec.method.does.writes:
        check_engine(work)
    return (yield from CARRIED_OUT_BY[work.spec.method](work, taught))
