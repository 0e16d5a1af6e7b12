"""All rationales of a prepared cohort, written once by its teacher."""

from itertools import compress
from pathlib import Path

import pandas as pd

from workers.contract.teaching import Supervision, TeacherRecipe, TemplateTeacherRecipe
from workers.contract.trial import EndpointPlace
from workers.examples.teacher import TemplateTeacher, cases_of, fit_threshold
from workers.inputs import LABELS, VALUES, Counts

RATIONALE_SUPERVISIONS = (Supervision.FREE_FORM, Supervision.STEP_BY_STEP)


def write_rationales(
    cohort: Path, recipe: TeacherRecipe, *, prompts: Path, endpoint: EndpointPlace | None, cache: Path
) -> tuple[pd.DataFrame, Counts]:
    """One rationale a label row and supervision, empty where none may be written; and figures for the manifest.

    Nobody who is scored gets a rationale: a conditioned teacher's would give the label away.
    """
    if not isinstance(recipe, TemplateTeacherRecipe):
        raise NotImplementedError
    labels = pd.read_parquet(cohort / LABELS)
    cases = cases_of(pd.read_parquet(cohort / VALUES), labels)
    is_train = (labels["split"] == "train").tolist()
    teacher = TemplateTeacher(recipe, fit_threshold(list(compress(cases, is_train))))
    texts = pd.DataFrame(
        {
            str(kind): [teacher.write(case, kind) if use else "" for case, use in zip(cases, is_train, strict=True)]
            for kind in RATIONALE_SUPERVISIONS
        }
    )
    counts: Counts = {"threshold_points": teacher.threshold}
    return texts, counts | {f"n_distinct {name}": int(texts[name].nunique()) for name in texts}
