"""What a launch needs: disk, measured on the committed trials of its store, and rationales of a language model.

A missing trial takes what those of its method and base took, else what the largest took, and its share of dataset and
tracking. Before any trial is committed the floor is all that is asked for; it covers resume points and small inputs.
"""

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from rich.filesize import decimal

from orchestrator.design.plan import Plan, PlannedTrial
from orchestrator.store.folder import MIN_FREE_BYTES
from workers.contract.errors import StoreError
from workers.contract.inputs import InputKind, Manifest, input_recipes, wanted_rationales
from workers.contract.layout import StoreLayout
from workers.contract.outcome import TrialState
from workers.contract.recipes.teaching import Supervision, WantedRationales
from workers.contract.trial import Trial, TrialSpec

# Of committed trials, so many of a kind are measured.
N_MEASURED = 20
RATIONALES = (Supervision.FREE_FORM, Supervision.STEP_BY_STEP)
STAT_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own


@dataclass(frozen=True)
class DiskForecast:
    """What a launch adds to the store, floor included: as trials took on average, and the largest of each kind.

    n_measured: Committed trials that it follows from.
    """

    need_bytes: int
    most_bytes: int
    n_measured: int

    def __str__(self) -> str:
        if not self.n_measured:
            return f"at least {decimal(self.need_bytes)} (no trial is committed yet to measure by)"
        basis = f"measured on {self.n_measured} trials, {decimal(MIN_FREE_BYTES)} to spare"
        return f"about {decimal(self.need_bytes)} (up to {decimal(self.most_bytes)}; {basis})"

    def told(self, *, free_bytes: int) -> str:
        """One line, as `needs about 1.2 GB (up to 1.6 GB; measured on 20 trials, …), 67.3 GB free`."""
        return f"needs {self}, {decimal(free_bytes)} free"

    def refuse_too_little(self, *, free_bytes: int, place: str) -> None:
        """See that the disk has room; raises StoreError where it has less than is needed."""
        if free_bytes < self.need_bytes:
            raise StoreError(
                f"{place}: {decimal(free_bytes)} free, {self} are needed; "
                "free space, choose another --store, or run less at a time with --limit"
            )


@dataclass(frozen=True)
class TeachingForecast:
    """Rationales that a language model is still to write, at most, and the tokens that this takes.

    n_questions: Without those of whole splits where nobody has counted them yet, which `is_open` says.
    n_measured: Rationales of this store that the tokens follow from; 0 where they bound what is written.
    """

    n_questions: int
    n_tokens: int
    n_measured: int
    is_open: bool

    def __str__(self) -> str:
        more = ", and those of whole splits, which are counted once the cohort is prepared" if self.is_open else ""
        basis = "up to {:,} tokens written, further tries aside"
        if self.n_measured:
            basis = f"about {{:,}} tokens read and written, as the {self.n_measured:,} in this store took"
        return f"at most {self.n_questions:,} rationales{more}; {basis.format(self.n_tokens)}"


def forecast_teaching(specs: Iterable[TrialSpec], layout: StoreLayout) -> TeachingForecast | None:
    """What these trials still ask of a language model; null where they ask nothing.

    A smaller train size is a part of a larger one of the same draw, so the largest that is missing counts.
    """
    asked: dict[tuple[object, ...], dict[str, TrialSpec]] = defaultdict(dict)
    n_questions, longest, is_open, took = 0, 0, False, Counter[str]()
    for (_, _, _, wanted), spec in _distinct(specs).items():
        if spec.teacher is not None and spec.teacher.kind != "template":
            nested = None if wanted is None else (wanted.supervision, wanted.training_draw)
            asked[spec.teacher.digest(), nested][input_recipes(spec)[InputKind.RATIONALES].digest()] = spec
            longest = max(longest, spec.teacher.max_tokens)
    for inputs in asked.values():
        made = {digest: Manifest.load(layout.manifest(digest)) for digest in inputs}
        found = [each.counts for each in made.values() if each is not None]
        sizes = [_n_rationales(spec, layout) for digest, spec in inputs.items() if made[digest] is None]
        n_made = max((int(counts["n_requested"]) for counts in found), default=0)
        n_questions += max(0, max(filter(None, sizes), default=0) - n_made)
        is_open |= None in sizes
        for name in ("n_requested", "prompt_tokens", "completion_tokens"):
            took[name] += sum(int(counts[name]) for counts in found)
    if not n_questions and not is_open:
        return None
    n_measured = took["n_requested"]
    each = (took["prompt_tokens"] + took["completion_tokens"]) / n_measured if n_measured else longest
    return TeachingForecast(n_questions, round(n_questions * each), n_measured, is_open)


def _distinct(specs: Iterable[TrialSpec]) -> dict[tuple[int, int, int, WantedRationales | None], TrialSpec]:
    """One trial for each set of rationales; those of one design share the very objects."""
    return {(id(spec.cohort), id(spec.prompt), id(spec.teacher), wanted_rationales(spec)): spec for spec in specs}


def _n_rationales(spec: TrialSpec, layout: StoreLayout) -> int | None:
    """How many a trial's input holds; null where nobody counted the split that it needs whole."""
    wanted, is_blind = wanted_rationales(spec), spec.teacher is not None and spec.teacher.label_access == "blind"
    if wanted is not None and wanted.train_size is not None:
        return wanted.train_size + (wanted.n_probe if is_blind else 0)
    cohort = Manifest.load(layout.manifest(input_recipes(spec)[InputKind.COHORT].digest()))
    if cohort is None:
        return None
    n_train, n_tuning = (int(cohort.counts[f"{split}_n_examples"]) for split in ("train", "tuning"))
    if wanted is None:
        return len(RATIONALES) * (n_train + (n_tuning if is_blind else 0))
    return n_train + (wanted.n_probe if is_blind else 0)


def forecast_disk(
    plan: Plan, layout: StoreLayout, *, chosen: Sequence[PlannedTrial] | None = None, tracks_here: bool = True
) -> DiskForecast:
    """Look at the store as a plan found it; `chosen` are the trials of this launch, where these are not all missing.

    Without `tracks_here`, MLflow's database is not in the store.
    """
    todo = plan.todo if chosen is None else chosen
    if not todo:
        return DiskForecast(0, 0, 0)
    kept = [planned.trial for planned in plan.trials + plan.controls if planned.state is TrialState.KEEP]
    kept += [item.trial for item in plan.left_over if item.trial]
    sizes = _measure(kept, layout)
    if not sizes:
        return DiskForecast(MIN_FREE_BYTES, MIN_FREE_BYTES, 0)
    dataset = _disk_bytes(layout.dataset)
    derived = dataset + (_disk_bytes(layout.tracking_database) if tracks_here else 0)
    # A new dataset is written before the old one goes.
    beside = MIN_FREE_BYTES + dataset + len(todo) * derived / len(kept)
    largest = max(max(taken) for taken in sizes.values())
    missing = [(n, sizes.get(kind, [largest])) for kind, n in Counter(_kind(each.trial) for each in todo).items()]
    need, most = (round(beside + sum(n * of(taken) for n, taken in missing)) for of in (mean, max))
    return DiskForecast(need, most, sum(map(len, sizes.values())))


def _kind(trial: Trial) -> tuple[str, str]:
    return trial.spec.method.value, str(trial.coordinates.get("base", ""))


def _measure(kept: Iterable[Trial], layout: StoreLayout) -> dict[tuple[str, str], list[int]]:
    """Bytes of a sample of committed trials, without what `sweep score` added, by kind."""
    sizes: dict[tuple[str, str], list[int]] = defaultdict(list)
    for trial in kept:
        if len(taken := sizes[_kind(trial)]) < N_MEASURED:
            transfers = layout.transfer(trial.trial_id, "any").parents[1]
            taken.append(_disk_bytes(layout.trial(trial.trial_id)) - _disk_bytes(transfers))
    return dict(sizes)


def _disk_bytes(place: Path) -> int:
    """Of a file, or a folder with all below it, in whole blocks as the file system counts."""
    total = 0
    below = (Path(folder) / name for folder, folders, files in os.walk(place) for name in folders + files)
    for path in (place, *below):
        with suppress(FileNotFoundError):  # there is none yet, or a driver writes another one meanwhile
            total += path.lstat().st_blocks * STAT_BLOCK_BYTES
    return total


def free_bytes(layout: StoreLayout) -> int:
    """What the disk under the store, or under where it will be, has left; raises StoreError where nobody can look."""
    place = next(each for each in (layout.root, *layout.root.parents) if each.exists())
    try:
        return shutil.disk_usage(place).free
    except OSError as error:
        raise StoreError(f"{place}: can't be looked at ({error.strerror}); choose another --store") from None
