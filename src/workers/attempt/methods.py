"""Which method does what: from a laid-out work to its table of predictions."""

from workers.contract.trial import Method
from workers.scoring.engines.chosen import check_engine
from workers.scoring.evaluating import score_classical, score_model
from workers.scoring.few_shot import score_few_shot
from workers.training.fine_tuning import fine_tune
from workers.training.head import fine_tune_head
from workers.work.bench import Predicting, Work

WRITES = frozenset({Method.LORA, Method.FEW_SHOT, Method.ZERO_SHOT})


def carry_out(work: Work) -> Predicting:
    """Fit what the method fits and return the table of predictions on tuning and held_out."""
    if work.spec.method in WRITES:
        check_engine(work)
    match work.spec.method:
        case Method.LORA:
            return (yield from fine_tune(work))
        case Method.HEAD:
            return (yield from fine_tune_head(work))
        case Method.FEW_SHOT:
            return (yield from score_few_shot(work))
        case Method.ZERO_SHOT:
            base, answer = work.base
            return (yield from score_model(work, base.model, base, answer))
        case _:
            return score_classical(work)
