"""All rationales of a prepared cohort from a chat endpoint: who gets one, how many at once, and when to give up.

Costs two requests a participant and more where answers are invalid or ungrounded; an answer is kept as soon as it is
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
from workers.contract.recipes.teaching import EndpointTeacherRecipe
from workers.contract.system.endpoints import WHERE
from workers.contract.trial import EndpointPlace
from workers.examples.audit.words import vocabulary_of
from workers.examples.cases import RATIONALE_SUPERVISIONS, read_cases
from workers.examples.endpoint.cache import AnswerCache
from workers.examples.endpoint.client import PAUSE_S, REDIRECTS, REFUSED, SPENT, EndpointClient
from workers.examples.endpoint.teacher import Asked, EndpointTeacher, Question
from workers.examples.endpoint.wording import check_version
from workers.examples.prompts import read_lexicon
from workers.store.published import LABELS, TEXTS

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
    pause_s: float = PAUSE_S,
) -> tuple[pd.DataFrame, Counts]:
    """One rationale a label row and supervision, empty where none may be or could be written; and figures.

    Written are train rows and, by a blind teacher, tuning rows. A filtered teacher's rationale is kept where its own
    answer is the label; an ungrounded one by the recipe's rule, and where regenerating did not help the best is kept.

    Args:
        prompts: The prepared prompts; the teacher reads what the student reads.
        cache: Where valid answers are kept and looked up.
        pause_s: Between retries of one request, see `EndpointClient`.

    Raises:
        InputError: The endpoint may not be asked, has failed, or left too many questions without a valid answer.
    """
    check_version(recipe)
    labels = pd.read_parquet(cohort / LABELS).reset_index(drop=True)
    lexicon = read_lexicon(cohort)
    splits = ("train", "tuning") if recipe.label_access == "blind" else ("train",)
    is_written = labels["split"].isin(splits)
    cases, knowledge = read_cases(cohort, labels, lexicon, is_wanted=is_written.tolist())
    records = pd.read_parquet(prompts / TEXTS)["prompt"][is_written.to_numpy()]
    questions = [
        Question(case, supervision, record)
        for case, record in zip(cases, records, strict=True)
        for supervision in RATIONALE_SUPERVISIONS
    ]
    with closing(EndpointClient(place, n_connections=N_AT_ONCE, pause_s=pause_s)) as client:
        teacher = EndpointTeacher(recipe, client, AnswerCache(cache), vocabulary_of(lexicon), knowledge.themes)
        written = _write_all(teacher, questions)
    ledger = _ledger(questions, written, recipe)
    columns = {
        str(kind): ledger.loc[ledger["supervision"] == kind, "text"].to_list() for kind in RATIONALE_SUPERVISIONS
    }
    texts = pd.DataFrame(columns, index=labels.index[is_written]).reindex(labels.index, fill_value="")
    is_train = labels.loc[is_written, "split"].eq("train").repeat(len(RATIONALE_SUPERVISIONS)).to_numpy()
    counts: Counts = {"teacher": recipe.digest(), "n_written": int((texts != "").any(axis=1).sum())}
    counts |= _counts(ledger, written) | _selection(ledger[is_train], is_filtered=recipe.label_access == "filtered")
    return texts, counts | {f"n_distinct {name}": int(texts[name].nunique()) for name in texts}


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


def _ledger(questions: Sequence[Question], written: Sequence[Asked], recipe: EndpointTeacherRecipe) -> pd.DataFrame:
    """One row a question: its label, what the answer was worth, and the text that stays."""
    drafts = [one.draft for one in written]
    ledger = pd.DataFrame(
        {
            "supervision": [str(question.supervision) for question in questions],
            "has_event": [question.case.has_event for question in questions],
            "text": [draft.text if draft else "" for draft in drafts],
            "is_valid": [draft is not None for draft in drafts],
            "says_event": [bool(draft and draft.says_event) for draft in drafts],
            "is_grounded": [bool(draft and draft.is_grounded) for draft in drafts],
        }
    ).astype({"text": object, "supervision": object})
    ledger["agrees"] = ledger["is_valid"] & (ledger["says_event"] == ledger["has_event"])
    is_wanted = ledger["agrees"] if recipe.label_access == "filtered" else ledger["is_valid"]
    ledger["is_ungrounded"] = is_wanted & ~ledger["is_grounded"]
    ledger["is_dropped"] = ledger["is_ungrounded"] & (recipe.ungrounded == "drop")
    ledger.loc[~is_wanted | ledger["is_dropped"], "text"] = ""
    return ledger


def _counts(ledger: pd.DataFrame, written: Sequence[Asked]) -> Counts:
    """What was asked and what it cost, in rationales, requests and tokens.

    Tokens are those of every answer that was read, cached ones with what they cost when they were asked; invalid
    answers of an earlier, interrupted run are in no count. n_ungrounded: in the end, whether kept or dropped.
    """
    costs = sum((one.costs for one in written), Counter[str]())
    return {
        "n_requested": len(ledger),
        "n_from_cache": sum(one.draft is not None and one.n_sent == 0 for one in written),
        "n_sent": sum(one.n_sent for one in written),
        "n_invalid": int((~ledger["is_valid"]).sum()),
        "n_regenerated": sum(one.n_regenerated for one in written),
        "n_ungrounded": int(ledger["is_ungrounded"].sum()),
        "n_dropped": int(ledger["is_dropped"].sum()),
        **{name: costs[name] for name in ("n_schema_enforced", "prompt_tokens", "completion_tokens")},
    }


def _selection(train: pd.DataFrame, *, is_filtered: bool) -> Counts:
    """By class of the train rows, how often the teacher's answer was the label and, filtered, what that left."""
    counts: Counts = {}
    for name, has_event in (("events", True), ("controls", False)):
        of_class = train[train["has_event"] == has_event]
        counts[f"train_{name}_agreement"] = float(of_class["agrees"].sum() / max(1, of_class["is_valid"].sum()))
        if is_filtered:
            n_kept = int((of_class["text"] != "").sum())
            counts |= {f"n_kept_{name}": n_kept, f"n_empty_{name}": len(of_class) - n_kept}
    return counts
