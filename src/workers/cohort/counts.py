"""The figures of a cohort, as its manifest and `sweep cohort check` give them: flow, splits, largest train size."""

from workers.cohort.cohort import SPLITS, Cohort
from workers.cohort.splits import largest_balanced_size

Counts = dict[str, int]


def counts_of(cohort: Cohort) -> Counts:
    """Counts of index dates by step of the flow and by split; whoever shows them hides the small ones."""
    counts = {
        "n_candidates": cohort.flow.n_candidates,
        "n_examples": cohort.flow.n_eligible,
        "n_participants": cohort.flow.n_participants,
        "n_events": cohort.flow.n_events,
        "largest_balanced_size": largest_balanced_size(cohort.labels),
    }
    counts |= {f"excluded: {reason}": number for reason, number in cohort.flow.excluded.items()}
    for split in SPLITS:
        members = cohort.labels[cohort.labels["split"] == split]
        counts[f"{split}_n_examples"] = len(members)
        counts[f"{split}_n_participants"] = int(members["subject_id"].nunique())
        counts[f"{split}_n_events"] = int(members["boolean_value"].sum())
    return counts
