"""How long trials will take, as others of their kind took; of a kind that never ended nothing is known.

From the first trial to the last: what it takes to begin and to report is left out. A training goes by its tokens,
scoring and the rest by the trial; how far trials scatter, and how badly a few tell their mean, is drawn from them.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import mean
from typing import TYPE_CHECKING, Self

from orchestrator.analysis.wording import duration
from orchestrator.launch.forecast.taken import Kind, Taken, TrialTook, size_of
from orchestrator.study.resources import Resources
from workers.contract.outcome import Record
from workers.contract.trial import Trial

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Drawn = npt.NDArray[np.float64]

N_DRAWS, SEED = 400, 0


class Quantiles(Record):
    """What 10, 50 and 90 of 100 cases stay below; the middle alone where nobody knows how far trials scatter."""

    p10: float | None
    p50: float
    p90: float | None

    @classmethod
    def of(cls, drawn: "Drawn") -> Self:
        """Of what was drawn."""
        import numpy as np

        low, middle, high = np.quantile(drawn, (0.1, 0.5, 0.9)).tolist()
        return cls(p10=low, p50=middle, p90=high) if np.ptp(drawn) > 0 else cls(p10=None, p50=middle, p90=None)

    def told(self, write: Callable[[float], str]) -> str:
        """`25.3 min (23.1 min to 28.0 min)`."""
        spread = "" if self.p10 is None or self.p90 is None else f" ({write(self.p10)} to {write(self.p90)})"
        return f"{write(self.p50)}{spread}"


@dataclass(frozen=True)
class TimeForecast:
    """How long trials take, of which `n_known` are of a kind that has ended: `n_measured` trials of these were read.

    n_steps: That the others take.
    n_tokens: That the known ones train on.
    cost: At the price of an hour of a device, where one is given.
    pilot: Narrows a launch to trials of the kinds that nothing is known of, one or few of each.
    """

    n_trials: int
    n_steps: int
    pilot: tuple[str, ...] = ()
    n_pilot: int = 0
    n_known: int = 0
    n_measured: int = 0
    n_tokens: int = 0
    n_slots: int = 1
    device: str = ""
    wall_s: Quantiles | None = None
    device_hours: Quantiles | None = None
    cost: Quantiles | None = None

    def to_json(self) -> dict[str, object]:
        """The same as facts."""
        return {
            name: value.model_dump() if isinstance(value, Quantiles) else value for name, value in vars(self).items()
        }

    def lines(self, study: str) -> list[str]:
        """For a terminal; `study` is how one names it and its store."""
        lines = []
        if self.wall_s and self.device_hours:
            number = "{:,.2f}".format
            told = f"about {self.wall_s.told(duration)} on {self.n_slots} {self.device} slots"
            told += f", {self.device_hours.told(number)} device-hours"
            told += f", {self.cost.told(number)} to pay" if self.cost else ""
            basis = f"{self.n_known} trials, {self.n_tokens:,} tokens of training, as {self.n_measured} trials took"
            spread = (
                "in brackets 8 of 10 cases"
                if self.wall_s.p10
                else "how far trials scatter, one of a kind does not tell"
            )
            lines.append(f"time {told}; {basis}; {spread}; start and report aside")
        if self.n_known < self.n_trials:
            counts = f"{self.n_trials - self.n_known} of {self.n_trials} trials, of {self.n_steps:,} steps"
            only = " ".join(f"--only {each}" for each in self.pilot)
            pilot = f"; a pilot of {self.n_pilot}: `sweep run {study} {only}`" if self.pilot else ""
            lines.append(f"time is not known of {counts}: none of their kind has ended{pilot}")
        return lines


def forecast_time(
    missing: Sequence[Trial], taken: Taken, *, n_slots: int, resources: Resources, price: float | None = None
) -> TimeForecast:
    """Foretell these trials, which are handed out in this order.

    Args:
        taken: What others took.
        resources: What a trial holds.
        price: Of an hour of a device: a GPU, or a core where trials run on CPUs.
    """
    unseen = [trial for trial in missing if trial.role == "grid" and Kind.of(trial) not in taken]
    known = [(kind, size_of(trial)) for trial in missing if (kind := Kind.of(trial)) in taken]
    trained = [trial.spec.training for trial in missing if Kind.of(trial) not in taken]
    n_steps = sum(training.steps for training in trained if training)
    found = TimeForecast(len(missing), n_steps, *_pilot(unseen), n_known=len(known), n_slots=n_slots)
    if not known:
        return found
    kinds = dict.fromkeys(kind for kind, _ in known)
    is_on_cpus = taken[known[0][0]][0].is_on_cpus
    shares = [resources.share_of(kind.base) for kind, _ in known]
    each_holds = [share.cpus_per_trial if is_on_cpus else share.gpus for share in shares]
    n_devices = [share.processes_per_trial * n for share, n in zip(shares, each_holds, strict=True)]
    seconds = _drawn(known, {kind: taken[kind] for kind in kinds})
    hours = n_devices @ seconds / 3600
    tokens = {kind: mean(each.cost.n_input_tokens / each.size for each in taken[kind]) for kind in kinds}
    return replace(
        found,
        n_measured=sum(len(taken[kind]) for kind in kinds),
        n_tokens=round(sum(tokens[kind] * size for kind, size in known)),
        device="CPU" if is_on_cpus else "GPU",
        wall_s=Quantiles.of(_makespans(seconds, n_slots)),
        device_hours=Quantiles.of(hours),
        cost=None if price is None else Quantiles.of(hours * price),
    )


def _drawn(trials: Sequence[tuple[Kind, int]], taken: Taken) -> "Drawn":
    """Seconds of these trials, shape (n_trials, N_DRAWS).

    A draw errs once in the mean of each kind, as that of so few trials does, and then for each trial by itself. The
    residuals of a kind are widened by what its own mean took of them; one trial alone borrows those of others.
    """
    import numpy as np

    generator = np.random.default_rng(SEED)
    rates = {
        kind: (mean(each.cost.train_wall_s / each.size for each in ended), mean(map(_beside_training, ended)))
        for kind, ended in taken.items()
    }
    residuals = {kind: _residuals(ended, *rates[kind]) for kind, ended in taken.items()}
    of_bases: dict[Kind, list[Drawn]] = defaultdict(list)
    for kind, own in residuals.items():
        if len(own) > 1:
            of_bases[kind._replace(base=None)].append(own)
    seconds = np.empty((len(trials), N_DRAWS))
    for kind, ended in taken.items():
        alike = of_bases[kind._replace(base=None)] or list(chain.from_iterable(of_bases.values()))
        own = np.concatenate(alike) if len(ended) == 1 and alike else residuals[kind]
        at = [place for place, (each, _) in enumerate(trials) if each == kind]
        by_size, fixed = rates[kind]
        expected = np.array([by_size * trials[place][1] + fixed for place in at])[:, None]
        level = generator.choice(own, (len(ended), N_DRAWS)).mean(axis=0)
        seconds[at] = expected * level * generator.choice(own, (len(at), N_DRAWS))
    return seconds


def _beside_training(ended: TrialTook) -> float:
    return ended.cost.wall_s - ended.cost.train_wall_s


def _residuals(ended: Sequence[TrialTook], by_size: float, fixed: float) -> "Drawn":
    """What each took over what its kind lets expect, their mean being 1; never under half of what the fastest took."""
    import numpy as np

    ratios = np.array([each.cost.wall_s / ((by_size * each.size + fixed) or 1.0) for each in ended])
    widened = 1 + (ratios - ratios.mean()) * (len(ratios) / max(1, len(ratios) - 1)) ** 0.5
    return np.asarray(np.maximum(widened, ratios.min() / 2))


def _makespans(seconds: "Drawn", n_slots: int) -> "Drawn":
    """Until the last trial ends, where each takes the first slot that is free; shape (N_DRAWS,)."""
    import numpy as np

    until, draws = np.zeros((N_DRAWS, n_slots)), np.arange(N_DRAWS)
    for trial in seconds:
        until[draws, until.argmin(axis=1)] += trial
    return np.asarray(until.max(axis=1))


def _pilot(unseen: Sequence[Trial]) -> tuple[tuple[str, ...], int]:
    """The narrowing that leaves few trials, but each kind: values of the first trial on axes that part no kinds."""
    kinds, only = {Kind.of(trial) for trial in unseen}, list[str]()
    for axis, value in unseen[0].coordinates.items() if unseen else ():
        narrowed = [trial for trial in unseen if trial.coordinates.get(axis) == value]
        if len(narrowed) < len(unseen) and {Kind.of(trial) for trial in narrowed} == kinds:
            unseen = narrowed
            only.append(f"{axis}={value}")
    return tuple(only), len(unseen)
