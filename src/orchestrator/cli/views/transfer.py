"""What `sweep score` shows: the scores of a stored adapter on another cohort, small counts hidden."""

from typing import TYPE_CHECKING

from orchestrator.analysis.wording import number
from orchestrator.disclosure import Count
from workers.contract.answers.transfer import Transfer
from workers.contract.outcome import Metrics, Record
from workers.contract.recipes.scorings import Scoring

if TYPE_CHECKING:
    from rich.console import Console


class SplitView(Record):
    """One split's scores as they may be shown."""

    split: str
    n_participants: str
    n_events: str
    metrics: dict[Scoring, Metrics]


class TransferView(Record):
    """A transfer as it may be shown."""

    trial_id: str
    cohort_digest: str
    splits: tuple[SplitView, ...]


def disclosed(transfer: Transfer, *, min_cell: int) -> TransferView:
    """Hide what few participants stand behind."""
    return TransferView(
        trial_id=transfer.trial_id,
        cohort_digest=transfer.cohort_digest,
        splits=tuple(
            SplitView(
                split=split,
                n_participants=str(
                    Count.withheld() if events.value is None else Count.of(scores.n_participants, min_cell=min_cell)
                ),
                n_events=str(events),
                metrics=scores.metrics,
            )
            for split, scores in transfer.scores.items()
            for events in [Count.of(scores.n_events, min_cell=min_cell, total=scores.n_examples)]
        ),
    )


def show_transfer(console: "Console", view: TransferView) -> None:
    """One row a split and scoring."""
    from orchestrator.saying.terminal import print_table

    rows = []
    for split in view.splits:
        for scoring, metrics in split.metrics.items():
            values = (metrics.roc_auc, metrics.pr_auc, metrics.brier, metrics.ece)
            rows.append([split.split, split.n_participants, split.n_events, scoring, *map(number, values)])
    console.print(f"trial {view.trial_id}")
    print_table(console, ("split", "participants", "events", "scoring", "ROC-AUC", "PR-AUC", "Brier", "ECE"), rows)
