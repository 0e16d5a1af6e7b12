"""How often a forecast of time holds: parts of a finished store foretold from the rest of it.

Of many random parts, how often the hours of the others lie between the 10th and 90th percentile (80 % is aimed at), how
far the median is off, and how wide that interval is; then the later half from the earlier, as it came. Trials of a kind
of which none is in the first part are left out.

Run by hand: `python tests/benchmarks/forecast_coverage.py STORE [STORE ...]`.
"""

import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

sys.path.insert(0, str(Path(__file__).parents[1]))

from orchestrator.launch.forecast.hours import forecast_time
from orchestrator.launch.forecast.taken import Kind, TrialTook, took_as
from orchestrator.store.outcomes import committed_ids
from orchestrator.study.resources import Resources
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome

N_SPLITS, SHARES = 500, (0.5, 0.2, 0.1, 0.04)


@dataclass(frozen=True)
class Told:
    """A forecast in hours, what came of it, and the share of trials that it was about."""

    low: float
    middle: float
    high: float
    real: float
    share: float


def held_against(first: Sequence[Outcome], rest: Sequence[Outcome]) -> Iterator[Told]:
    """What the first foretell of the rest; nothing where they tell nothing of how far trials scatter."""
    taken: dict[Kind, list[TrialTook]] = defaultdict(list)
    for outcome in first:
        taken[Kind.of(outcome.trial)].append(took_as(outcome))
    known = [outcome for outcome in rest if Kind.of(outcome.trial) in taken]
    found = forecast_time([outcome.trial for outcome in known], taken, n_slots=1, resources=Resources()).device_hours
    if found is not None and found.p10 is not None and found.p90 is not None:
        real = sum(outcome.cost.wall_s for outcome in known) / 3600
        yield Told(found.p10, found.p50, found.p90, real, len(known) / len(rest))


def main(store: Path) -> None:
    """Print a row a share of the store, then one of its trials in the order in which they ended."""
    layout = StoreLayout(store)
    outcomes = [Outcome.load(layout.outcome(trial_id)) for trial_id in committed_ids(layout)]
    for share in SHARES:
        n_first, found = max(1, round(share * len(outcomes))), list[Told]()
        for seed in range(N_SPLITS):
            mixed = random.Random(seed).sample(outcomes, len(outcomes))
            found += held_against(mixed[:n_first], mixed[n_first:])
        if found:
            _say(f"| {store.name} | {n_first} of {len(outcomes)}, at random | {_figures(found)} |")
    outcomes.sort(key=lambda outcome: outcome.provenance.ended_at)
    middle = len(outcomes) // 2
    for told in held_against(outcomes[:middle], outcomes[middle:]):
        words = f"{told.low:.2f} to {told.high:.2f} h, came to {told.real:.2f} h"
        _say(
            f"| {store.name} | the first {middle} | {told.share:.0%} | {words} | {told.middle / told.real - 1:+.0%} | |"
        )


def _figures(found: Sequence[Told]) -> str:
    within = mean(told.low <= told.real <= told.high for told in found)
    off = median(abs(told.middle / told.real - 1) for told in found)
    width = median((told.high - told.low) / told.middle for told in found)
    return f"{mean(told.share for told in found):.0%} | {within:.0%} | {off:.1%} | {width:.0%}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    for place in sys.argv[1:]:
        main(Path(place))
