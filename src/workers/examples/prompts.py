"""All prompts of a prepared cohort, by its template; and the planted signal, a control that must be found."""

import hashlib
from pathlib import Path

import pandas as pd

from workers.cohort.lexicon import Lexicon
from workers.contract.errors import InputError, Problem
from workers.contract.inputs import Counts
from workers.contract.recipes.teaching import PromptRecipe
from workers.examples.exam_facts import recorded
from workers.examples.exam_summary import QUESTION, render_prompt
from workers.examples.facts import example_keys
from workers.examples.history import clean, items_by_row, write_history
from workers.store.published import LABELS, LEXICON, RECORDS, VALUES

MARKERS = {True: "Marker A.", False: "Marker B."}


def render_prompts(cohort: Path, recipe: PromptRecipe) -> tuple[pd.DataFrame, Counts]:
    """One prompt a label row, in order, column `prompt`; and figures for the manifest.

    Raises:
        InputError: The template is not one for this cohort.
    """
    lexicon = read_lexicon(cohort)
    if (lexicon is None) != (recipe.template == "exam_summary"):
        fitting = "exam_summary" if lexicon is None else "history"
        raise InputError(Problem("prompt.template", f"{recipe.template} can't write this cohort", f"use {fitting}"))
    if lexicon is None:
        texts = [render_prompt(values) for values in recorded(pd.read_parquet(cohort / VALUES))]
        counts: Counts = {"n_prompts": len(texts)}
        question = QUESTION
    else:
        texts, counts = _histories(cohort, lexicon, max_words=recipe.max_words)
        question = clean(lexicon.question)
    if recipe.planted_signal:
        texts = _with_markers(texts, pd.read_parquet(cohort / LABELS), question=question, share=recipe.planted_signal)
    return pd.DataFrame({"prompt": texts}), counts


def read_lexicon(cohort: Path) -> Lexicon | None:
    """The words of a prepared cohort's codes; null where the template brings its own."""
    path = cohort / LEXICON
    return Lexicon.model_validate_json(path.read_bytes()) if path.is_file() else None


def _histories(cohort: Path, lexicon: Lexicon, *, max_words: int | None) -> tuple[list[str], Counts]:
    n_rows = len(pd.read_parquet(cohort / LABELS, columns=["subject_id"]))
    rows = items_by_row(pd.read_parquet(cohort / RECORDS), n_rows=n_rows)
    histories = [write_history(items, lexicon, max_words=max_words) for items in rows]
    dropped = [history.n_dropped for history in histories]
    counts: Counts = {
        "n_prompts": n_rows,
        "n_items_dropped": sum(dropped),
        "n_prompts_shortened": sum(map(bool, dropped)),
    }
    return [history.text for history in histories], counts


def _with_markers(texts: list[str], labels: pd.DataFrame, *, question: str, share: float) -> list[str]:
    """Before each question a marker that agrees with the label in a `share` of examples, drawn by the example's key."""
    marked = []
    for text, key, label in zip(texts, example_keys(labels), labels["boolean_value"].tolist(), strict=True):
        marker = MARKERS[bool(label) if _uniform(f"planted|{key}") < share else not label]
        marked.append(f"{text.removesuffix(question)}{marker} {question}")
    return marked


def _uniform(text: str) -> float:
    """A number in [0, 1) that follows from a text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
