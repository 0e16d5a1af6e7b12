"""What each labelled index date weighs so that those who were lost before the horizon are stood for.

Lost ones are left out of the labels. Whoever was followed to the event, to death or to the horizon weighs one over the
probability of having been followed so long.
Source: protocol, section 3.1; the product-limit estimate is scipy's.
"""

import numpy as np
import numpy.typing as npt
from scipy import stats

FloatArray = npt.NDArray[np.float64]


def censoring_weights(followed: FloatArray, is_lost: npt.NDArray[np.bool_]) -> FloatArray:
    """1 / G(t−) of each index date, G the Kaplan-Meier estimate of being followed; 1 where nobody was lost.

    Args:
        followed: Time to event, death, loss or the horizon, whichever came first, shape (n,).
        is_lost: Whether that was the loss, shape (n,).

    Returns:
        Shape (n,), ≥ 1, 0 for the lost.
    """
    if not is_lost.any():
        return np.ones(len(followed))
    # A hair later: whoever was lost on the day of another's event was followed to that event.
    losses = stats.CensoredData(uncensored=np.nextafter(followed[is_lost], np.inf), right=followed[~is_lost])
    share = stats.ecdf(losses).sf.evaluate(followed)
    return np.where(is_lost, 0.0, 1 / np.where(is_lost, 1.0, share))
