"""What filled sheets say: how far raters agree with each other and with themselves, and what they judged."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from orchestrator.analysis.resampling.bootstrap import Estimate
from orchestrator.audit.coefficients import (
    N_REPLICATES,
    Coefficient,
    FloatArray,
    gwet,
    kappa,
    krippendorff_alpha,
    raw_agreement,
    weights_of,
    wilson,
    with_interval,
)
from orchestrator.disclosure import Count, is_small
from workers.contract.answers.audit import SHEET_ITEMS, Part, SheetItem
from workers.contract.outcome import Record, Sealed
from workers.contract.recipes.teaching import Supervision

if TYPE_CHECKING:
    from rich.console import Console

# A score of 4 or 5; places count from 0.
GOOD_PLACE = 3
NO = 0.0


class ItemAgreement(Record):
    """Agreement on one item; null where nobody was paired or chance leaves nothing to correct.

    raw is unweighted. kappa is quadratic for scales; gwet is AC2 for scales and AC1 for yes and no; alpha is given for
    more than two raters. within: a rater against themself, on the hidden repeats.
    """

    item: str
    is_scale: bool
    n_rationales: Count
    raw: Estimate | None
    kappa: Estimate | None
    gwet: Estimate | None
    alpha: Estimate | None
    n_repeated: Count
    within_raw: Estimate | None
    within_kappa: Estimate | None


class JudgedShare(Record):
    """What was judged of an arm's rationales, after unblinding, with Wilson's interval; null where few were rated."""

    supervision: Supervision
    name: str
    n_rationales: Count
    share: Estimate | None


class Agreement(Sealed):
    """`agreement.json`: aggregates alone. A third rater's adjudication is not applied: all ratings count alike."""

    study: str
    n_raters: int
    n_rationales: Count
    items: tuple[ItemAgreement, ...]
    shares: tuple[JudgedShare, ...]


def agree(ratings: pd.DataFrame, *, study: str, min_cell: int, n_replicates: int = N_REPLICATES) -> Agreement:
    """Every coefficient and share from ratings as `read_ratings` returns them.

    Args:
        n_replicates: Resamples of the rationales, for the intervals.
    """
    rated = ratings[ratings["part"] == Part.RATED]
    n_raters = int(rated["rater"].nunique())
    return Agreement(
        study=study,
        n_raters=n_raters,
        n_rationales=Count.of(int(rated["rationale"].nunique()), min_cell=min_cell),
        items=tuple(
            _item_agreement(item, ratings, n_raters=n_raters, min_cell=min_cell, n_replicates=n_replicates)
            for item in SHEET_ITEMS
        ),
        shares=tuple(
            _share(of_arm, name, judge, supervision=Supervision(str(arm)), min_cell=min_cell)
            for arm, of_arm in rated.groupby("supervision")
            for name, judge in JUDGEMENTS.items()
        ),
    )


def _item_agreement(
    item: SheetItem, ratings: pd.DataFrame, *, n_raters: int, min_cell: int, n_replicates: int
) -> ItemAgreement:
    weights, identity = weights_of(len(item.choices), is_scale=item.is_scale), np.eye(len(item.choices))
    between, within = _between(ratings, item), _within(ratings, item)

    def estimate(rated: FloatArray, coefficient: Coefficient, weighed: FloatArray = weights) -> Estimate | None:
        return with_interval(rated, lambda drawn: coefficient(drawn, weighed), n_replicates=n_replicates)

    return ItemAgreement(
        item=item.name,
        is_scale=item.is_scale,
        n_rationales=Count.of(int(((~np.isnan(between)).sum(axis=1) >= 2).sum()), min_cell=min_cell),
        raw=estimate(between, raw_agreement, identity),
        kappa=estimate(between, kappa),
        gwet=estimate(between, gwet),
        alpha=estimate(between, krippendorff_alpha) if n_raters > 2 else None,
        n_repeated=Count.of(len(within), min_cell=min_cell),
        within_raw=estimate(within, raw_agreement, identity),
        within_kappa=estimate(within, kappa),
    )


def _between(ratings: pd.DataFrame, item: SheetItem) -> FloatArray:
    """Ratings of one item, shape (n_rationales, n_raters)."""
    rated = ratings[ratings["part"] == Part.RATED]
    return rated.pivot(index="rationale", columns="rater", values=item.name).to_numpy(dtype=np.float64)


def _within(ratings: pd.DataFrame, item: SheetItem) -> FloatArray:
    """First and second rating of each hidden repeat that has both, shape (n_repeats, 2), all raters together."""
    pairs = ratings.pivot(index=["rater", "rationale"], columns="part", values=item.name)
    return pairs.reindex(columns=[Part.RATED, Part.REPEATED]).dropna().to_numpy(dtype=np.float64)


Judge = Callable[[pd.DataFrame], "pd.Series[bool]"]
# Of a rationale: good only if every rater says so, bad if any does.
JUDGEMENTS: dict[str, Judge] = {
    "accurate (4 or 5 by every rater)": lambda rows: rows["accuracy"] >= GOOD_PLACE,
    "grounded (4 or 5 by every rater)": lambda rows: rows["grounded"] >= GOOD_PLACE,
    "nothing fabricated (by every rater)": lambda rows: rows["fabricated"] == NO,
    "nothing unsafe (by every rater)": lambda rows: rows["unsafe"] == NO,
    "label predicted (by every rater)": lambda rows: rows["predict"] == rows["label"],
}


def _share(rows: pd.DataFrame, name: str, judge: Judge, *, supervision: Supervision, min_cell: int) -> JudgedShare:
    """A verdict on texts, not on participants: hidden only where few of these are behind it."""
    verdicts = judge(rows).groupby(rows["rationale"]).all()
    total = len(verdicts)
    return JudgedShare(
        supervision=supervision,
        name=name,
        n_rationales=Count.of(total, min_cell=min_cell),
        share=None if is_small(total, min_cell) else wilson(int(verdicts.sum()), total),
    )


def show_agreement(console: "Console", found: Agreement) -> None:
    """Print agreement by item and shares by supervision, each with its 95 % interval."""
    from orchestrator.saying.terminal import print_table

    console.print(f"{found.n_raters} raters, {found.n_rationales} rationales; 95 % intervals over rationales")
    items = [
        [row.item, *map(written, (row.raw, row.kappa, row.gwet, row.alpha, row.within_raw))] for row in found.items
    ]
    print_table(console, ("item", "agreement", "kappa", "AC1/AC2", "alpha", "same rater"), items)
    shares = [[each.name, each.supervision, str(each.n_rationales), written(each.share)] for each in found.shares]
    print_table(console, ("judged", "supervision", "rationales", "share"), shares)


def written(estimate: Estimate | None) -> str:
    """`0.81 (0.69 to 0.90)`; a dash for null."""
    from orchestrator.analysis.wording import interval, number

    if estimate is None:
        return number(None)
    return f"{number(estimate.value, 2)} ({interval(estimate)})"
