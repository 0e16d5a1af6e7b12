"""All rationales of a prepared cohort, written once by a teacher that is no base of the study."""

from collections.abc import Sequence
from itertools import compress
from pathlib import Path

import pandas as pd

from workers.contract.errors import InputError, Problem
from workers.contract.inputs import Counts
from workers.contract.recipes.teaching import (
    EndpointTeacherRecipe,
    TemplateTeacherRecipe,
    WantedRationales,
)
from workers.contract.trial import EndpointPlace
from workers.examples.cases import RATIONALE_SUPERVISIONS, read_cases
from workers.examples.facts import Case
from workers.examples.prompts import read_lexicon
from workers.examples.template.teacher import TemplateTeacher, fit_threshold
from workers.store.published import LABELS


def write_rationales(
    cohort: Path,
    recipe: TemplateTeacherRecipe | EndpointTeacherRecipe,
    *,
    prompts: Path,
    endpoint: EndpointPlace | None,
    cache: Path,
    wanted: WantedRationales | None = None,
    max_words: int | None = None,
) -> tuple[pd.DataFrame, Counts]:
    """One rationale a label row and supervision, empty where none may be written; and figures for the manifest.

    Nobody of the held-out split gets a rationale, and outside train nobody whose label the teacher may have seen.

    Args:
        wanted: Whose rationales are used, where an endpoint is asked for no others.
        max_words: Of the prompts, for a template teacher that reads no more than they show.

    Raises:
        InputError: The teacher is an endpoint and nobody said where it listens, or it failed.
    """
    if isinstance(recipe, EndpointTeacherRecipe):
        if endpoint is None:
            raise InputError(Problem("teacher", "no endpoint is given", "say where it listens, as `endpoint`"))
        from workers.examples.endpoint.write import write_by_endpoint

        return write_by_endpoint(cohort, recipe, prompts=prompts, place=endpoint, cache=cache, wanted=wanted)
    return _write_by_template(cohort, recipe, max_words=max_words if recipe.reads == "prompt" else None)


def _write_by_template(
    cohort: Path, recipe: TemplateTeacherRecipe, *, max_words: int | None
) -> tuple[pd.DataFrame, Counts]:
    labels = pd.read_parquet(cohort / LABELS).reset_index(drop=True)
    lexicon = read_lexicon(cohort)
    # A probe of the mechanism compares train with tuning; exam summaries came first and keep to train.
    splits = ("train", "tuning") if lexicon and recipe.label_access == "blind" else ("train",)
    is_written = labels["split"].isin(splits)
    chosen = labels[is_written]
    cases, knowledge = read_cases(cohort, labels, lexicon, is_wanted=is_written.tolist(), max_words=max_words)
    is_train = (chosen["split"] == "train").tolist()
    train = list(compress(cases, is_train))
    teacher = TemplateTeacher(recipe, fit_threshold(train), knowledge)
    written = {str(kind): [teacher.write(case, kind) for case in cases] for kind in RATIONALE_SUPERVISIONS}
    texts = pd.DataFrame(written, index=chosen.index).reindex(labels.index, fill_value="")
    return texts, _counts(texts, teacher, train)


def _counts(texts: pd.DataFrame, teacher: TemplateTeacher, train: Sequence[Case]) -> Counts:
    """Provenance: who wrote, from which threshold, how often its own judgement was the label, and how much came out.

    Under a filtered teacher the agreement is the selection rate. The examples that it leaves without a rationale are
    counted, not removed: what becomes of them is for training to decide and to record.
    """
    counts: Counts = {
        "teacher": teacher.recipe.digest(),
        "threshold_points": teacher.threshold,
        "n_written": int((texts != "").any(axis=1).sum()),
    }
    for name, has_event in (("events", True), ("controls", False)):
        of_class = [case for case in train if case.has_event == has_event]
        n_agreeing = sum(teacher.judges_raised(case) == has_event for case in of_class)
        counts[f"train_{name}_agreement"] = n_agreeing / max(1, len(of_class))
        if teacher.recipe.label_access == "filtered":
            counts |= {f"n_kept_{name}": n_agreeing, f"n_empty_{name}": len(of_class) - n_agreeing}
    return counts | {f"n_distinct {name}": int(texts[name].nunique()) for name in texts}
