"""Rationales from a chat endpoint: how many are asked for at once, and when to give up.

Costs a request a rationale and more where answers are invalid or ungrounded; an answer is kept as soon as it is
valid, so a run that ends early, by itself or not, loses nothing.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path

import pandas as pd

from workers.contract.errors import InputError, Problem
from workers.contract.inputs import Counts
from workers.contract.recipes.teaching import EndpointTeacherRecipe, WantedRationales
from workers.contract.system.endpoints import WHERE
from workers.contract.trial import EndpointPlace
from workers.examples.endpoint.assignment import Assignment
from workers.examples.endpoint.cache import AnswerCache
from workers.examples.endpoint.client import PAUSE_S, REDIRECTS, REFUSED, SPENT, EndpointClient
from workers.examples.endpoint.teacher import Asked, EndpointTeacher, Question
from workers.examples.endpoint.wording import check_version

# One GPU server batches these; more would only queue there.
N_AT_ONCE = 8
# Ours: more examples without a rationale than this would be another training set.
MAX_INVALID_SHARE = 0.10
# At 10 % failures by chance, ten in a row come once in 10^10 requests: the endpoint itself has failed.
MAX_FAILURES_IN_A_ROW = 10

REMEDY = "see that it serves the model under its name and answers in time"
REMEDIES = {
    "HTTP 401": "see that endpoint.api_key_variable names the right key",
    "HTTP 403": "see that the key may use this model",
    "HTTP 404": "see that the address ends before /chat/completions and the model has this name",
    "timed out": "raise endpoint.timeout_s or use a faster server",
    "no connection": "start the server, or mend the address",
    "cut at max_tokens": "raise teacher.max_tokens",
    SPENT: "raise teacher.max_tokens",
    REFUSED: "ask a model that writes about health records",
    "broken JSON": "serve a model that follows a JSON schema",
    "missing or wrong fields": "serve a model that follows a JSON schema",
    **{f"HTTP {status}": "give the address that it redirects to" for status in REDIRECTS},
}


def write_by_endpoint(
    cohort: Path,
    recipe: EndpointTeacherRecipe,
    *,
    prompts: Path,
    place: EndpointPlace,
    cache: Path,
    wanted: WantedRationales | None = None,
    pause_s: float = PAUSE_S,
) -> tuple[pd.DataFrame, Counts]:
    """What is assigned to the endpoint's model, written; and figures.

    Args:
        prompts: The prepared prompts.
        wanted: Whose rationales are used; null is everybody's.
        cache: Where valid answers are kept and looked up.
        pause_s: Between retries of one request, see `EndpointClient`.

    Raises:
        InputError: The endpoint may not be asked, has failed, or left too many questions without a valid answer.
    """
    check_version(recipe)
    assignment = Assignment.of(cohort, prompts, recipe, wanted=wanted)
    with closing(EndpointClient(place, n_connections=N_AT_ONCE, pause_s=pause_s)) as client:
        teacher = EndpointTeacher(recipe, client, AnswerCache.of_store(cache), assignment.vocabulary, assignment.themes)
        return assignment.settled(_write_all(teacher, assignment.questions))


def _write_all(teacher: EndpointTeacher, questions: Sequence[Question]) -> list[Asked]:
    """What became of every question, in order.

    Raises:
        InputError: There is no use in asking on; answers that were given are kept.
    """
    pool = ThreadPoolExecutor(N_AT_ONCE)
    futures = [pool.submit(teacher.write, question) for question in questions]
    failures: Counter[str] = Counter()
    n_in_a_row = 0
    try:
        for n_ended, future in enumerate(as_completed(futures), start=1):
            failure = future.result().failure
            if failure is None:
                n_in_a_row = 0
                continue
            failures[failure.kind] += 1
            n_in_a_row += 1
            is_too_many = failures.total() > MAX_INVALID_SHARE * len(questions)
            if failure.ends == "run" or is_too_many or n_in_a_row >= MAX_FAILURES_IN_A_ROW:
                raise _gave_up(failures, n_ended=n_ended, n_questions=len(questions))
    finally:
        pool.shutdown(cancel_futures=True)
    return [future.result() for future in futures]


def _gave_up(failures: Counter[str], *, n_ended: int, n_questions: int) -> InputError:
    kinds = ", ".join(f"{kind}: {n}" for kind, n in failures.most_common())
    what = (
        f"no valid answer to {failures.total()} of the {n_ended} questions asked so far, {n_questions} in all ({kinds})"
    )
    remedy = next((remedy for kind, remedy in REMEDIES.items() if kind in failures), REMEDY)
    return InputError(Problem(WHERE, what, f"{remedy}; valid answers are kept, so run again"))
