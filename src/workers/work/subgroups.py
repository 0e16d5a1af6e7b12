"""Sex and age band of every example, for results by group: coarse, and null where the cohort does not tell."""

import numpy as np
import pandas as pd

from workers.cohort.features import Features
from workers.contract.recipes.words import AGE, SEX

# In every source 1 is a man; a woman is 2 in Framingham, and 0 elsewhere.
SEX_OF = {0.0: "female", 1.0: "male", 2.0: "female"}
# Ten years a band, ends open, so that few are alone in one; of nobody above 89 is more told.
BANDS = {"0-39": 0, "40-49": 40, "50-59": 50, "60-69": 60, "70-79": 70, "80+": 80}


def subgroups(features: Features) -> pd.DataFrame:
    """Columns `sex` and `age_band`, one row a label row; by what was last recorded up to the index."""
    known = features.only((AGE, SEX)).table()
    bands = pd.cut(known[AGE], [*BANDS.values(), np.inf], right=False, labels=list(BANDS))
    return pd.DataFrame({"sex": known[SEX].map(SEX_OF), "age_band": bands}).astype("str")
