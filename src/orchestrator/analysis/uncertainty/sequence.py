"""In which order a study's declared comparisons are tested, so that its claims together err in 5 %.

Three families in turn: the primary contrast, the further contrasts, the interactions. Holm inside each, and a family is
tested only where everything before it was shown. All else in the findings is exploratory, whatever its interval.
Source: protocol, section 3.8, point 5; Holm, Scand. J. Stat. 1979; serial gatekeeping, Westfall & Krishen, JSPI 2001.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from orchestrator.analysis.contrasts import ContrastFindings, InteractionFindings
from orchestrator.analysis.results import FloatArray
from orchestrator.analysis.uncertainty.layers import ERROR
from workers.contract.outcome import Record

Family = Literal["primary contrast", "further contrasts", "interactions"]
Standing = Literal["shown", "not shown", "not tested"]


class Claim(Record):
    """One declared comparison in the sequence, strict, by the widest layer that its cells support.

    `p_value` is null where nothing can be compared, which counts as 1. `adjusted_p` holds for the whole sequence: no
    smaller than any of an earlier family; null too where it is not tested, because one of those was not shown.
    """

    name: str
    family: Family
    covers: str
    p_value: float | None
    adjusted_p: float | None
    standing: Standing


def claims_of(contrasts: Sequence[ContrastFindings], interactions: Sequence[InteractionFindings]) -> tuple[Claim, ...]:
    """Test what is declared, in the declared order."""
    families: tuple[tuple[Family, Sequence[ContrastFindings | InteractionFindings]], ...] = (
        ("primary contrast", contrasts[:1]),
        ("further contrasts", contrasts[1:]),
        ("interactions", interactions),
    )
    found: list[Claim] = []
    reached = 0.0
    for family, members in families:
        is_tested = reached <= ERROR
        p_values = np.array([1.0 if one.widest.p_value is None else one.widest.p_value for one in members])
        adjusted = np.maximum(holm(p_values), reached).tolist()
        found += [
            Claim(
                name=member.name,
                family=family,
                covers=member.widest.covers,
                p_value=member.widest.p_value,
                adjusted_p=p if is_tested and member.widest.p_value is not None else None,
                standing="not tested" if not is_tested else "shown" if p <= ERROR else "not shown",
            )
            for member, p in zip(members, adjusted, strict=True)
        ]
        reached = max([reached, *adjusted])
    return tuple(found)


def holm(p_values: FloatArray) -> FloatArray:
    """Adjusted p-values of one family, in its order."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted
