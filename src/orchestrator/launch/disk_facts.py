"""What a forecast of disk needs to know, read from a study, its plan and its store: a sample of what is there."""

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from orchestrator.design.plan import Plan, PlannedTrial
from orchestrator.launch.forecast import (
    BLOCK_BYTES,
    TRACKING_EMPTY_BYTES,
    TRACKING_STEP_BYTES,
    TRACKING_TRIAL_BYTES,
    Amount,
    DiskFacts,
    Kind,
    lora_bytes,
)
from orchestrator.study.bases import StudyFolder
from orchestrator.study.study import Study
from workers.contract.errors import StoreError
from workers.contract.inputs import InputKind, InputRecipe, Manifest, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.outcome import TrialState
from workers.contract.recipes.bases import BuiltinBase, GgufBase
from workers.contract.system.sources import locate_gguf
from workers.contract.trial import Method, Trial, TrialSpec

# Of committed trials, so many of a kind are measured; MLflow's database, from so many runs on.
N_MEASURED, N_RUNS_MEASURED = 20, 20
TRAINS = (Method.LORA, Method.HEAD)
# Before a cohort is prepared: the share of its examples that is scored, and of events among them.
SCORED_SHARE, EVENT_SHARE, ROWS_FACTOR = 0.3, 0.04, 2.5
LARGEST_COUNTED_FILE = 200_000_000
# Inputs, in bytes an example; an invented cohort keeps whole histories. Measured on 10,656 and 42,566 examples.
INPUT_BYTES = {
    InputKind.PROMPTS: 41, InputKind.RATIONALES: 42, InputKind.PROMPT_TOKENS: 28, InputKind.RATIONALE_TOKENS: 30,
}  # fmt: skip
COHORT_BYTES, INVENTED_COHORT_BYTES = 20, 200
# Built-in bases, 0.6 to 2.0 MB, and their adapters in bytes a rank: 1.5 kB (micro), 10 kB (s, tiny), 23 kB (m).
BUILTIN_BYTES, BUILTIN_RANK_BYTES, MEDIUM_RANK_BYTES = 1_100_000, 10_300, 22_600
# A GGUF file of 8 bits a weight as float32.
GGUF_FACTOR = 3.8


def read_disk_facts(
    study: Study,
    plan: Plan,
    layout: StoreLayout,
    *,
    chosen: Sequence[PlannedTrial] | None = None,
    tracks_here: bool = True,
    n_slots: int | None = None,
) -> DiskFacts:
    """Look at the store as a plan found it.

    Args:
        chosen: The trials of this launch; null means all that are missing.
        tracks_here: MLflow's database is in the store.
        n_slots: Trials at once; null where no cluster is known: as many as this machine has room for.

    Raises:
        StoreError: A manifest can't be read.
    """
    kinds = _Kinds(study, layout)
    todo = [planned.trial for planned in (plan.todo if chosen is None else chosen)]
    kept = [planned.trial for planned in plan.trials + plan.controls if planned.state is TrialState.KEEP]
    inputs, unknown = _missing_inputs(study, todo, layout)
    return DiskFacts(
        missing=Counter(map(kinds.of, todo)),
        measured=_measure(kept, kinds, layout),
        n_kept=Counter(map(kinds.of, kept)),
        n_rows=_rows(study, layout, todo) if todo else None,
        tracking_ratio=_tracking_ratio(plan, layout) if tracks_here else 0.0,
        n_slots=n_slots or max(1, int((os.cpu_count() or 1) // study.resources.cpus_per_trial)),
        inputs=inputs,
        unknown=unknown,
    )


class _Kinds:
    """The kind of each trial; a base's shapes are looked up once."""

    def __init__(self, study: Study, layout: StoreLayout) -> None:
        self._study = study
        self._layout = layout
        self._adapters: dict[tuple[str, int], int | None] = {}

    def of(self, trial: Trial) -> Kind:
        spec, base = trial.spec, str(trial.coordinates.get("base", ""))
        adapter: int | None = 0
        if spec.method in TRAINS and spec.training is not None:
            key = base, spec.training.lora.rank
            if key not in self._adapters:
                self._adapters[key] = self._adapter_bytes(spec, base, rank=key[1])
            adapter = self._adapters[key]
        evaluation = spec.evaluation
        further = (evaluation.direct, evaluation.reasoned_tokens > 0, evaluation.marginal_samples > 0)
        return Kind(
            method=spec.method.value,
            base=base,
            n_steps=spec.training.steps if spec.training else 0,
            n_further_scorings=sum(further) if spec.base else 0,
            adapter_bytes=adapter,
        )

    def _adapter_bytes(self, spec: TrialSpec, base: str, *, rank: int) -> int | None:
        for place in self._config_places(spec, base):
            try:
                return lora_bytes(json.loads(place.read_bytes()), rank=rank)
            except (OSError, ValueError):
                continue
        if isinstance(spec.base, BuiltinBase):
            return rank * (MEDIUM_RANK_BYTES if spec.base.recipe.endswith("_m") else BUILTIN_RANK_BYTES)
        return None

    def _config_places(self, spec: TrialSpec, base: str) -> Iterator[Path]:
        recipe = input_recipes(spec).get(InputKind.BASE)
        manifest = recipe and Manifest.load(self._layout.manifest(recipe.digest()))
        if recipe and manifest:
            yield self._layout.input(recipe.digest()) / manifest.folder / "config.json"
        named = self._study.bases.get(base)
        if isinstance(named, StudyFolder):
            yield named.folder / "config.json"


def _measure(kept: list[Trial], kinds: _Kinds, layout: StoreLayout) -> dict[Kind, list[int]]:
    measured: dict[Kind, list[int]] = {}
    for trial in kept:
        sizes = measured.setdefault(kinds.of(trial), [])
        if len(sizes) < N_MEASURED:
            folder = layout.trial(trial.trial_id)
            transfers = layout.transfer(trial.trial_id, "any").parents[1]
            sizes.append(_disk_bytes(folder) - (_disk_bytes(transfers) if transfers.is_dir() else 0))
    return measured


def _disk_bytes(folder: Path) -> int:
    """In whole blocks, folders too."""
    blocks = 1
    for path in folder.rglob("*"):
        blocks += max(1, math.ceil(path.lstat().st_size / BLOCK_BYTES))
    return blocks * BLOCK_BYTES


def _rows(study: Study, layout: StoreLayout, todo: list[Trial]) -> Amount | None:
    """Examples that one trial is scored on: counted where the cohort is prepared, else guessed from its size."""
    per_case = study.evaluation.controls_per_case
    recipe = input_recipes(todo[0].spec)[InputKind.COHORT]
    if manifest := Manifest.load(layout.manifest(recipe.digest())):
        n = sum(_rows_of(manifest, split, per_case) for split in ("tuning", "held_out"))
        return Amount(n, n, n)
    if (n_examples := _n_examples(study)) is None:
        return None
    share = 1.0 if per_case is None else min(1.0, EVENT_SHARE * (1 + per_case))
    return Amount.guess(SCORED_SHARE * n_examples * share, factor=1.3 if per_case is None else ROWS_FACTOR)


def _rows_of(manifest: Manifest, split: str, per_case: float | None) -> int:
    n, n_events = (int(manifest.counts.get(f"{split}_{unit}", 0)) for unit in ("n_examples", "n_events"))
    return n if per_case is None else min(n, n_events + math.ceil(per_case * n_events))


def _n_examples(study: Study) -> int | None:
    """How many examples the cohort has about, before it is prepared; null where only preparing tells."""
    if (n := getattr(study.cohort, "n_participants", None)) is not None:
        return int(n)
    place = study.cohort.place
    if place is None or not place.is_file() or place.stat().st_size > LARGEST_COUNTED_FILE:
        return None
    with place.open("rb") as file:
        return max(0, sum(1 for _ in file) - 1)


def _tracking_ratio(plan: Plan, layout: StoreLayout) -> float | None:
    """How large MLflow's database is over what the constants give, where it holds runs enough to tell."""
    held = [planned.trial for planned in plan.trials + plan.controls if planned.state is TrialState.KEEP]
    held += [item.trial for item in plan.left_over if item.trial]
    if len(held) < N_RUNS_MEASURED or not layout.tracking_database.is_file():
        return None
    expected = sum(
        TRACKING_TRIAL_BYTES + TRACKING_STEP_BYTES * (trial.spec.training.steps if trial.spec.training else 0)
        for trial in held
    )
    return max(0.0, layout.tracking_database.stat().st_size - TRACKING_EMPTY_BYTES) / expected


def _missing_inputs(study: Study, todo: list[Trial], layout: StoreLayout) -> tuple[Amount, tuple[str, ...]]:
    """Bytes of what is to be prepared, and the names of what nobody can tell."""
    shared = {(id(t.spec.cohort), id(t.spec.base), id(t.spec.prompt), id(t.spec.teacher)): t for t in todo}
    recipes: dict[str, tuple[InputRecipe, Trial]] = {}
    for trial in shared.values():
        recipes |= {recipe.digest(): (recipe, trial) for recipe in input_recipes(trial.spec).values()}
    amount, unknown = Amount(), []
    n_examples = cache(lambda: _n_examples(study))
    for digest, (recipe, trial) in recipes.items():
        if layout.manifest(digest).is_file() or recipe.kind is InputKind.PROOF:  # a page of text
            continue
        if recipe.kind is InputKind.BASE:
            found = _base_bytes(study, trial)
            name = f"base {trial.coordinates.get('base')}"
        else:
            found = None if n_examples() is None else Amount.guess(_bytes_an_example(recipe) * (n_examples() or 0))
            name = f"input {recipe.kind.value}"
        if found is None:
            unknown.append(name)
        else:
            amount += found
    return amount, tuple(sorted(set(unknown)))


def _bytes_an_example(recipe: InputRecipe) -> int:
    if recipe.kind is not InputKind.COHORT:
        return INPUT_BYTES[recipe.kind]
    return INVENTED_COHORT_BYTES if "synthetic" in json.dumps(recipe.content) else COHORT_BYTES


def _base_bytes(study: Study, trial: Trial) -> Amount | None:
    """A prepared base is a copy of its float32 weights."""
    base = trial.spec.base
    named = study.bases.get(str(trial.coordinates.get("base")))
    if isinstance(base, BuiltinBase):
        return Amount.guess(BUILTIN_BYTES)
    try:
        if isinstance(base, GgufBase) and (path := locate_gguf(base)) is not None:
            return Amount.guess(GGUF_FACTOR * path.stat().st_size)
        if isinstance(named, StudyFolder):
            return Amount.guess(sum(path.stat().st_size for path in named.folder.rglob("*") if path.is_file()))
    except OSError:
        return None
    return None


def free_bytes(layout: StoreLayout) -> int:
    """What the disk under the store, or under where it will be, has left.

    Raises:
        StoreError: The place can't be looked at.
    """
    place = layout.root
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        found = os.statvfs(place)
    except OSError as error:
        raise StoreError(f"{place}: can't be looked at ({error.strerror}); choose another --store") from None
    return found.f_bavail * found.f_frsize
