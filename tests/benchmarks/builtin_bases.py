"""What the seven clinical bases cost and can do: parameters, seconds on one thread, last loss, share that they answer.

Run by hand: `python tests/benchmarks/builtin_bases.py [RECIPE …]`. Seconds are processor time of the one thread that
pre-trains, tokenizer included, so that other work on the machine hardly counts. Answered: of fresh invented records,
the share after which greedy generation ends in an answer line of its own.
"""

import itertools
import sys
import time

from workers.contract.trial import EvaluationRecipe
from workers.examples.tokenizing.tokens import answer_tokens
from workers.models.base import Base
from workers.models.builtin.clinical import BASES, SEED, Pretrained, pretrained
from workers.models.builtin.corpus import documents
from workers.scoring.openers import CachedOpener
from workers.scoring.scorer import Scorer

N_RECORDS = 200
FRESH = SEED + 100
MAX_NEW_TOKENS = {"clinical_qwen_s_reasoning": 140}
LAST_STEPS = 20


def share_answered(recipe: str, made: Pretrained) -> float:
    """Share of fresh records that the base answers, in [0, 1]."""
    made.tokenizer.padding_side = "left"
    base = Base(made.model, made.tokenizer)
    answer = answer_tokens(base.tokenizer)
    evaluation = EvaluationRecipe(max_new_tokens=MAX_NEW_TOKENS.get(recipe, 48))
    scorer = Scorer(CachedOpener(base.model, pad_token=answer.end), base, answer, evaluation=evaluation)
    written = itertools.islice(documents(BASES[recipe].corpus, seed=FRESH), N_RECORDS)
    prompts = [base.tokenizer(f"{document.prompt}\n")["input_ids"] for document in written]
    validity = [kind for scored in scorer.score(prompts, batch_size=32) for kind in scored.validity]
    return sum(kind == "valid" for kind in validity) / len(validity)


def main() -> None:
    """Print a line a base."""
    for recipe in sys.argv[1:] or BASES:
        started = time.process_time()
        made = pretrained(recipe)
        seconds = time.process_time() - started
        n_parameters = sum(parameter.numel() for parameter in made.model.parameters())
        loss = sum(made.losses[-LAST_STEPS:]) / LAST_STEPS
        sys.stdout.write(
            f"{recipe:26} {n_parameters:8,} parameters {seconds:6.0f} s   loss {loss:.3f}   "
            f"answered {share_answered(recipe, made):6.1%}\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
