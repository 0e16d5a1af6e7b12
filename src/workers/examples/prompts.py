"""All prompts of a prepared cohort, by its template."""

from pathlib import Path

import pandas as pd

from workers.contract.teaching import PromptRecipe
from workers.examples.prompt import render_prompt
from workers.inputs import VALUES, Counts


def render_prompts(cohort: Path, recipe: PromptRecipe) -> tuple[pd.DataFrame, Counts]:
    """One prompt a label row, in order, column `prompt`; and figures for the manifest."""
    values = pd.read_parquet(cohort / VALUES)
    texts = [
        render_prompt({str(code): float(value) for code, value in row.items() if not pd.isna(value)})
        for row in values.to_dict("records")
    ]
    return pd.DataFrame({"prompt": texts}), {"n_prompts": len(texts)}
