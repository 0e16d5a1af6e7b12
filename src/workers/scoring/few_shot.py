"""An untrained base that reads worked examples before the question; nothing is cut to make them fit.

`direct` reads the answer right after the prompt, which then is the strict and the forced score; `reason` lets the base
write first. Participants are those of the train split, never anybody who is scored.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from workers.cohort.checks import too_large
from workers.cohort.splits import largest_balanced_size
from workers.contract.errors import InputError, Problem
from workers.contract.inputs import InputKind, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.recipes.bases import BaseSettings
from workers.contract.recipes.teaching import DemonstrationRecipe
from workers.contract.trial import Method, TrialSpec
from workers.examples.tokenizing.encoding import Encoder
from workers.examples.tokenizing.thoughts import thought_of
from workers.examples.tokenizing.tokens import AnswerTokens, answer_lines
from workers.examples.tokenizing.wrapping import beginning_of
from workers.models.base import Base, load_tokenizer
from workers.scoring.classical.baselines import columns_of
from workers.scoring.demonstrations import demonstration, fixed_rows, nearest_rows
from workers.scoring.evaluating import Questions, score_model
from workers.store.published import LABELS, TOKENS, folder_of
from workers.work.bench import Predicting, Work
from workers.work.training_set import TrainingSet

IntArray = npt.NDArray[np.int64]


def score_few_shot(work: Work, taught: TrainingSet) -> Predicting:
    """Score the base of a trial behind its demonstrations.

    Raises:
        InputError: A demonstration should show a rationale and the teacher wrote none.
    """
    base, answer = work.base
    return (yield from score_model(work, base.model, base, answer, questions=few_shot_questions(work, base, answer)))


def few_shot_questions(work: Work, base: Base, answer: AnswerTokens) -> Questions:
    """What the base is asked: one prefix where all see the same demonstrations, else the nearest before each prompt.

    Raises:
        InputError: A demonstration should show a rationale and the teacher wrote none.
    """
    recipe = demonstrations_of(work.spec)
    rows = work.scored_rows.rows
    prompts, writes = work.prompt_tokens(rows), recipe.inference == "reason"
    if recipe.shots == 0:
        return Questions(prompts, prefix=answer.bos, writes=writes)
    if recipe.selection == "fixed":
        chosen = fixed_rows(work.labels, recipe, salt=work.spec.cohort.split_salt)
        shown = _written_out(work, base, answer, chosen)
        return Questions(prompts, prefix=[*answer.bos, *_joined(shown, chosen)], writes=writes)
    taught = work.features[(work.labels["split"] == "train").to_numpy()]
    columns = columns_of(Method.LOGISTIC, work.spec.cohort, taught)
    nearest = nearest_rows(work.labels, work.features.only(columns), recipe, rows=rows)
    shown = _written_out(work, base, answer, np.unique(nearest))
    behind = [[*answer.bos, *_joined(shown, chosen), *prompt] for chosen, prompt in zip(nearest, prompts, strict=True)]
    return Questions(behind, writes=writes)


def _written_out(work: Work, base: Base, answer: AnswerTokens, rows: IntArray) -> dict[int, list[int]]:
    """The tokens of each of these rows as a demonstration."""
    prompts = work.prompt_tokens(rows)
    rationales: list[list[int]] = [[] for _ in rows]
    if demonstrations_of(work.spec).shows == "rationale":
        rationales = work.rationale_tokens(rows)
        if n_unwritten := sum(not rationale for rationale in rationales):
            what = f"it wrote no rationale for {n_unwritten} of {len(rows)} demonstrations"
            raise InputError(Problem("teacher", what, "choose a teacher that explains every training example"))
    line_break = _encoder(work.spec, base.tokenizer).go_on("\n")
    return {
        int(row): demonstration(prompt, rationale, has_event=outcome, answer=answer, line_break=line_break)
        for row, prompt, rationale, outcome in zip(
            rows, prompts, rationales, work.outcomes[rows].astype(bool).tolist(), strict=True
        )
    }


def _joined(shown: dict[int, list[int]], rows: IntArray) -> list[int]:
    return [token for row in rows for token in shown[int(row)]]


def few_shot_tokens(spec: TrialSpec, layout: StoreLayout, *, base: Path) -> int:
    """Tokens of the longest few-shot prompt, demonstrations included; a bound where everybody sees their nearest.

    Args:
        base: The folder with the base's tokenizer.

    Raises:
        InputError: The shots can't be shown: an odd number, or more than the train split holds of a label.
    """
    recipe = demonstrations_of(spec)
    labels = pd.read_parquet(_folder(spec, InputKind.COHORT, layout) / LABELS)
    _refuse_shots(recipe, largest=largest_balanced_size(labels))
    prompts = _lengths(_folder(spec, InputKind.PROMPT_TOKENS, layout), "prompt")
    settings, tokenizer = spec.base or BaseSettings(), load_tokenizer(base)
    n_first = len(beginning_of(settings, tokenizer))
    longest_question = int(prompts[(labels["split"] != "train").to_numpy()].max()) + n_first
    if recipe.shots == 0:
        return longest_question
    is_explained = recipe.shows == "rationale"
    lengths = prompts + _answer_tokens(_encoder(spec, tokenizer), settings, is_explained=is_explained)
    if is_explained:
        lengths = lengths + _lengths(_folder(spec, InputKind.RATIONALE_TOKENS, layout), str(spec.supervision))
    if recipe.selection == "fixed":
        return longest_question + int(lengths[fixed_rows(labels, recipe, salt=spec.cohort.split_salt)].sum())
    is_train, has_event = (labels["split"] == "train").to_numpy(), labels["boolean_value"].to_numpy()
    of_each = [np.sort(lengths[is_train & (has_event == label)])[-(recipe.shots // 2) :] for label in (True, False)]
    return longest_question + int(np.concatenate(of_each).sum())


def _refuse_shots(recipe: DemonstrationRecipe, *, largest: int) -> None:
    if recipe.shows == "none" and recipe.shots:
        raise InputError(Problem("few_shot.shots", f"{recipe.shots} demonstrations that show nothing", "use 0"))
    if recipe.shots % 2:
        what = f"{recipe.shots} demonstrations can't be balanced between two labels"
        raise InputError(Problem("few_shot.shots", what, "use an even number"))
    if recipe.shots > largest:
        raise InputError(too_large("few_shot.shots", recipe.shots, largest=largest))


def demonstrations_of(spec: TrialSpec) -> DemonstrationRecipe:
    """What a few-shot trial shows; only for such a trial."""
    if spec.demonstrations is None:
        raise ValueError(f"a {spec.method} trial shows no demonstrations")
    return spec.demonstrations


def _answer_tokens(encoder: Encoder, settings: BaseSettings, *, is_explained: bool) -> int:
    """Tokens of a demonstration beside prompt and rationale, at most: a thought's end, answer line and line break."""
    thought = thought_of(settings, encoder)
    is_open = thought is not None and thought.is_open
    closing = thought.close if thought is not None and is_open else []
    lines = answer_lines(encoder, is_explained=is_explained and not is_open)
    return len(closing) + max(map(len, lines.values())) + len(encoder.go_on("\n"))


def _encoder(spec: TrialSpec, tokenizer: PreTrainedTokenizerBase) -> Encoder:
    return Encoder.of(tokenizer, spec.base or BaseSettings())


def _folder(spec: TrialSpec, kind: InputKind, layout: StoreLayout) -> Path:
    return folder_of(input_recipes(spec)[kind], layout)


def _lengths(folder: Path, column: str) -> IntArray:
    """How many tokens each row has, shape (n_examples,)."""
    cells = pq.read_table(folder / TOKENS, columns=[column])[column]
    return np.asarray(pc.list_value_length(cells).to_numpy(), dtype=np.int64)
