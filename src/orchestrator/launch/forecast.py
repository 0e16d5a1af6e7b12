"""How much disk a launch will take, with a range: from trials that the store holds where it can, else from shapes.

Pure: typed facts in, a forecast out; `disk_facts.py` reads the facts. The constants were measured on finished stores of
9 to 701 trials, SQLite tracking included; what is not known yet is named, and left out of the sum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from statistics import mean, stdev

from workers.contract.errors import StoreError

# A guess may be off by so much either way; one from a single trial of the kind by a fifth.
GUESS_FACTOR = 2.0
ONE_TRIAL_FACTOR = 1.2
FLOAT32_BYTES = 4
BLOCK_BYTES = 4096
# Predictions: 47 to 78 bytes a row of a language model's trial; history: 65 to 90 a step.
ROW_BYTES, FURTHER_SCORING_ROW_BYTES, STEP_BYTES = 55, 12, 75
# Outcome, Parquet footers, the adapter's configuration, three folders, each in blocks.
FIXED_BYTES = 32_000
# The dataset repeats predictions and history, compressed better; a new one is written before the old one goes.
DATASET_SHARE, DATASET_FACTOR = 0.5, 1.4
# MLflow on SQLite: 290 bytes a point, 4.4 points a step and 70 at the end, 10 kB a run besides, and an empty database.
TRACKING_STEP_BYTES, TRACKING_TRIAL_BYTES, TRACKING_EMPTY_BYTES = 1_276, 30_000, 1_000_000
# A resume point holds the adapter and both of AdamW's moments; two are kept while a third is written.
TENSORS_OF_A_RESUME_POINT, N_RESUME_POINTS = 3, 3
UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass(frozen=True)
class Amount:
    """Bytes, and the range in which they are likely to be."""

    n_bytes: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        """Ranges add up: what makes one estimate wrong makes the others wrong too."""
        return Amount(self.n_bytes + other.n_bytes, self.low + other.low, self.high + other.high)

    def times(self, factor: float) -> "Amount":
        """So many of it."""
        return Amount(self.n_bytes * factor, self.low * factor, self.high * factor)

    @classmethod
    def guess(cls, n_bytes: float, *, factor: float = GUESS_FACTOR) -> "Amount":
        """Off by the factor either way."""
        return cls(n_bytes, n_bytes / factor, n_bytes * factor)

    @classmethod
    def measured(cls, sizes: Sequence[float]) -> "Amount":
        """The mean of at least one, give or take their standard deviation."""
        middle = mean(sizes)
        if len(sizes) == 1:
            return cls.guess(middle, factor=ONE_TRIAL_FACTOR)
        return cls(middle, max(0.0, middle - stdev(sizes)), middle + stdev(sizes))


@dataclass(frozen=True)
class Kind:
    """What decides how much a trial leaves behind.

    adapter_bytes: Of its adapter; 0 where it trains none, null where the base's shapes are not known.
    """

    method: str
    base: str
    n_steps: int = 0
    n_further_scorings: int = 0
    adapter_bytes: int | None = 0


@dataclass(frozen=True)
class DiskFacts:
    """What a forecast follows from.

    missing: Number of trials to run, by kind.
    measured: Bytes of committed trials, by kind: a sample.
    n_kept: Committed trials of the design, by kind: the dataset repeats them.
    n_rows: Examples that each trial is scored on; null where that is not known.
    tracking_ratio: Size of MLflow's database over what the constants give; null where they are all there is, 0 where
        it is kept elsewhere.
    n_slots: Trials that run at once.
    inputs: Of what is not prepared yet.
    unknown: Parts of which nothing is known.
    """

    missing: Mapping[Kind, int]
    measured: Mapping[Kind, Sequence[int]] = field(default_factory=dict)
    n_kept: Mapping[Kind, int] = field(default_factory=dict)
    n_rows: Amount | None = None
    tracking_ratio: float | None = None
    n_slots: int = 1
    inputs: Amount = Amount()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class DiskForecast:
    """What a launch adds to the store, at its peak."""

    need_bytes: int
    low: int
    high: int
    basis: str
    unknown: tuple[str, ...] = ()

    def told(self, *, free_bytes: int) -> str:
        """One line, as `needs about 1.2 GB (0.9 to 1.6 GB; measured on 20 trials), 67 GB free`."""
        besides = f"; not counted: {', '.join(self.unknown)}" if self.unknown else ""
        span = f"{spelled_bytes(self.low)} to {spelled_bytes(self.high)}; {self.basis}"
        return f"needs about {spelled_bytes(self.need_bytes)} ({span}){besides}, {spelled_bytes(free_bytes)} free"

    def refuse_too_little(self, *, free_bytes: int, place: str) -> None:
        """See that the disk has room.

        Raises:
            StoreError: It has less than is needed.
        """
        if free_bytes < self.need_bytes:
            raise StoreError(
                f"{place}: {spelled_bytes(free_bytes)} free, about {spelled_bytes(self.need_bytes)} are needed "
                f"({spelled_bytes(self.low)} to {spelled_bytes(self.high)}; {self.basis}); "
                "free space, choose another --store, or run less at a time with --limit"
            )


def forecast_disk(facts: DiskFacts) -> DiskForecast:
    """Add up what the missing trials leave, what is derived from them, and what stands only while they run."""
    if not facts.missing:
        return DiskForecast(0, 0, 0, "nothing is missing")
    parts = [
        *(_trial(kind, facts).times(n) for kind, n in facts.missing.items()),
        _dataset(facts),
        _tracking(facts),
        _resume_points(facts),
        facts.inputs,
    ]
    total = reduce(Amount.__add__, parts)
    n_measured = sum(len(facts.measured.get(kind, ())) for kind in facts.missing)
    n_guessed = sum(n for kind, n in facts.missing.items() if not facts.measured.get(kind))
    basis = f"measured on {n_measured} trials" if n_measured else "from shapes"
    if n_measured and n_guessed:
        basis += f", {n_guessed} from shapes"
    return DiskForecast(round(total.n_bytes), round(total.low), round(total.high), basis, _unknown(facts))


def lora_bytes(config: Mapping[str, object], *, rank: int) -> int | None:
    """Bytes of a float32 adapter on all linear layers of a decoder; null where its `config.json` says too little.

    rank × (in + out) weights a layer: queries, keys, values, output, and two or three of the feed-forward part.
    """
    named = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    sizes = [config.get(name) for name in named]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        return None
    hidden, inner, n_layers, n_heads = (int(str(size)) for size in sizes)
    n_groups = int(str(config.get("num_key_value_heads") or n_heads))
    head = int(str(config.get("head_dim") or hidden // n_heads))
    attention = 2 * (hidden + n_heads * head) + 2 * (hidden + n_groups * head)
    n_inner = 2 if config.get("model_type") in UNGATED else 3
    return FLOAT32_BYTES * rank * n_layers * (attention + n_inner * (hidden + inner))


# Decoders whose feed-forward part has no gate.
UNGATED = frozenset({"phi", "gpt_neox", "opt", "starcoder2", "falcon"})


def _trial(kind: Kind, facts: DiskFacts) -> Amount:
    if sizes := facts.measured.get(kind):
        return Amount.measured(sizes)
    steps = kind.n_steps * STEP_BYTES
    return _predictions(kind, facts) + Amount.guess(FIXED_BYTES + steps + (kind.adapter_bytes or 0))


def _predictions(kind: Kind, facts: DiskFacts) -> Amount:
    bytes_a_row = ROW_BYTES + kind.n_further_scorings * FURTHER_SCORING_ROW_BYTES
    return (facts.n_rows or Amount()).times(bytes_a_row)


def _dataset(facts: DiskFacts) -> Amount:
    amount = Amount()
    for kinds in (facts.missing, facts.n_kept):
        for kind, n in kinds.items():
            rows = _predictions(kind, facts).n_bytes + kind.n_steps * STEP_BYTES
            amount += Amount.guess(DATASET_SHARE * rows * n, factor=DATASET_FACTOR)
    return amount


def _tracking(facts: DiskFacts) -> Amount:
    per_trial = sum(
        n * (TRACKING_TRIAL_BYTES + TRACKING_STEP_BYTES * kind.n_steps) for kind, n in facts.missing.items()
    )
    if facts.tracking_ratio is None:
        return Amount.guess(per_trial + TRACKING_EMPTY_BYTES, factor=DATASET_FACTOR)
    return Amount.guess(facts.tracking_ratio * per_trial, factor=ONE_TRIAL_FACTOR)


def _resume_points(facts: DiskFacts) -> Amount:
    """At most: a training that ends within a minute leaves none."""
    largest = max((kind.adapter_bytes or 0 for kind in facts.missing), default=0)
    n = min(facts.n_slots, sum(facts.missing.values()))
    most = n * N_RESUME_POINTS * TENSORS_OF_A_RESUME_POINT * largest
    return Amount(most, 0.0, most)


def _unknown(facts: DiskFacts) -> tuple[str, ...]:
    unmeasured = [kind for kind in facts.missing if not facts.measured.get(kind)]
    rows = ("predictions, as the cohort is not prepared",) if facts.n_rows is None and unmeasured else ()
    shapeless = sorted({kind.base for kind in unmeasured if kind.adapter_bytes is None})
    return (*facts.unknown, *rows, *(f"adapters on {base}" for base in shapeless))


def spelled_bytes(n_bytes: float) -> str:
    """Two digits that count, as `1.2 GB` or `67 GB`."""
    for size, unit in UNITS:
        if n_bytes >= size:
            value = n_bytes / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{n_bytes:.0f} B"
