"""Whether a store still holds what was committed: checksums here; scores and retraining by a worker.

Reads every byte of outcomes, attempts, inputs, transfers and what is derived of them, about a second a gigabyte;
changes nothing.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from orchestrator.asking import ask
from orchestrator.design.grid import expand
from orchestrator.store.derived import CHANGED, derived_damages, derived_files, is_sound_record
from orchestrator.store.orders import order_of
from orchestrator.store.outcomes import Outcomes, read_outcomes
from orchestrator.study.study import Study
from workers.contract.answers.questions import VERIFY_TRIALS
from workers.contract.answers.transfer import Transfer
from workers.contract.answers.verification import Retrained, VerifyFindings, VerifyOrder
from workers.contract.errors import StoreError
from workers.contract.inputs import Manifest
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.recipes.recipe import digest_of
from workers.contract.system.sources import sha256_of
from workers.contract.trial import WorkOrder

EXIT_GOOD, EXIT_DAMAGED = 0, 3


class Place(StrEnum):
    """What of a store was found wanting."""

    OUTCOME = "outcome"
    INPUT = "input"
    TRANSFER = "transfer"
    DERIVED = "derived"
    PLAN = "plan"
    RETRAINED = "retrained"


@dataclass(frozen=True)
class Damage:
    """One thing that is not as it was committed; `name` is a trial's id, an input's folder or a path in the store."""

    part: Place
    name: str
    what: str


@dataclass(frozen=True)
class Checked:
    """What a check of checksums read and found."""

    n_files: int = 0
    n_bytes: int = 0
    damages: tuple[Damage, ...] = ()

    def __add__(self, other: "Checked") -> "Checked":
        damages = self.damages + other.damages
        return Checked(self.n_files + other.n_files, self.n_bytes + other.n_bytes, damages)


@dataclass(frozen=True)
class Verification:
    """What was verified of a store, and what is wrong with it."""

    n_outcomes: int
    n_inputs: int
    n_files: int
    n_bytes: int
    n_recomputed: int
    retrained: tuple[Retrained, ...] = ()
    damages: tuple[Damage, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """0 all good, 3 something is damaged or came out otherwise."""
        return EXIT_DAMAGED if self.damages else EXIT_GOOD

    @property
    def damaged_trials(self) -> dict[str, str]:
        """Trials whose outcome or files can't be trusted, and why."""
        return {damage.name: damage.what for damage in self.damages if damage.part is Place.OUTCOME}


def verify_store(
    study: Study, layout: StoreLayout, *, n_retrain: int = 0, tell: Callable[[int, int], object] = lambda _, __: None
) -> Verification:
    """Verify everything that is committed; retrain trials of the design, drawn by the study's digest.

    What is stored beside the design is not retrained: the files that it names may be gone.

    Args:
        tell: Hears of how many trials the files were read, of how many.

    Raises:
        StoreError: The store can't be read.
        SweepError: The worker could not answer.
    """
    outcomes = read_outcomes(layout)
    of_trials = []
    for outcome in outcomes.committed.values():
        of_trials.append(check_outcome(layout, outcome))
        tell(len(of_trials), len(outcomes.committed))
    of_inputs = [check_input(path) for path in sorted(layout.inputs.glob("*/manifest.json"))]
    of_transfers = [check_transfer(layout, path) for path in sorted(layout.trials.glob("*/transfers/*/scores.json"))]
    checked = sum([*of_trials, *of_inputs, *of_transfers, check_derived(layout), check_plan(layout)], Checked())
    suspect = {damage.name for damage in checked.damages}
    sound = [name for name, outcome in outcomes.committed.items() if name not in suspect]
    design = expand(study).by_id if n_retrain else {}
    of_design = [name for name in sound if name in design]
    orders = [_again(outcomes.committed[name], study, layout) for name in draw(of_design, n_retrain, study=study)]
    asked = VerifyOrder(store=str(layout.root), recompute=tuple(sound), retrain=tuple(orders))
    found = ask(VERIFY_TRIALS, asked) if sound else VerifyFindings()
    differing = tuple(
        Damage(Place.OUTCOME, trial_id, f"{len(names)} of its scores don't follow from its predictions: {names[0]} …")
        for trial_id, names in found.differing.items()
    )
    return Verification(
        n_outcomes=len(outcomes.committed),
        n_inputs=len(of_inputs),
        n_files=checked.n_files,
        n_bytes=checked.n_bytes,
        n_recomputed=found.n_recomputed,
        retrained=found.retrained,
        damages=(*unreadable(outcomes, layout), *checked.damages, *differing, *_not_reproduced(found.retrained)),
    )


def check_outcome(layout: StoreLayout, outcome: Outcome) -> Checked:
    """The ids of an outcome against its spec, and every file that it names against its checksum.

    Its own checksum was seen to hold when it was read.
    """
    spec = outcome.trial.spec
    is_own = (outcome.training_id, outcome.cell_id) == (spec.training_id, spec.cell_id)
    wrong_ids = [] if is_own else ["its ids are not those of its spec"]
    folder = layout.trial(outcome.trial_id) / outcome.attempt
    return _check_files(folder, outcome.files, Place.OUTCOME, outcome.trial_id, wrong_ids)


def check_input(path: Path) -> Checked:
    """A prepared input's manifest and files; what a manifest does not name must not lie beside its files."""
    name = path.parent.name
    try:
        manifest = Manifest.load(path)
    except StoreError:
        manifest = None
    if manifest is None:
        return Checked(damages=(Damage(Place.INPUT, name, "its manifest can't be read"),))
    folder = path.parent / manifest.folder
    here = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    wrong = [] if manifest.recipe.digest() == name else ["its manifest is that of another recipe"]
    wrong += [f"{extra} is not one of its files" for extra in sorted(here - manifest.files.keys())]
    return _check_files(folder, manifest.files, Place.INPUT, name, wrong)


def check_transfer(layout: StoreLayout, path: Path) -> Checked:
    """What an adapter scored on another cohort: the record and its files."""
    name = str(path.parent.relative_to(layout.root))
    try:
        transfer = Transfer.load(path)
    except (OSError, StoreError):
        return Checked(damages=(Damage(Place.TRANSFER, name, "its record can't be read"),))
    return _check_files(path.parent / transfer.folder, transfer.files, Place.TRANSFER, name)


def check_derived(layout: StoreLayout) -> Checked:
    """Dataset, page, sealed study and audits, each against its own checksum."""
    files = [*derived_files(layout), *layout.dataset.rglob("*.parquet")]
    damages = tuple(Damage(Place.DERIVED, name, what) for name, what in derived_damages(layout).items())
    return Checked(len(files), sum(path.stat().st_size for path in files), damages)


def check_plan(layout: StoreLayout) -> Checked:
    """The sealed analysis plan, the looks, and the record of its opening, each against its own checksum."""
    once = (layout.analysis_plan, layout.unblinding, *sorted(layout.looks.glob("*.json")))
    files = [path for path in once if path.exists()]
    wrong = [path.name for path in files if not is_sound_record(path.read_bytes())]
    n_bytes = sum(path.stat().st_size for path in files)
    return Checked(len(files), n_bytes, tuple(Damage(Place.PLAN, name, CHANGED) for name in wrong))


def draw(trial_ids: list[str], n: int, *, study: Study) -> list[str]:
    """At most n trials at random, the same ones for the same study and trials."""
    seed = digest_of(study.model_dump(mode="json", exclude={"path"}))
    return random.Random(seed).sample(sorted(trial_ids), min(n, len(trial_ids)))


def _check_files(folder: Path, files: dict[str, str], part: Place, name: str, wrong: Sequence[str] = ()) -> Checked:
    """Each file against its checksum; `wrong` is what is wrong beside."""
    n_bytes, problems = 0, list(wrong)
    for file, expected in files.items():
        path = folder / file
        try:
            n_bytes += path.stat().st_size
            if sha256_of(path) != expected:
                problems.append(f"{file} has another checksum than was committed")
        except OSError as error:
            problems.append(f"{file} can't be read ({error.strerror})")
    return Checked(len(files), n_bytes, tuple(Damage(part, name, what) for what in problems))


def unreadable(outcomes: Outcomes, layout: StoreLayout) -> Iterator[Damage]:
    """Outcomes that are there and can't be trusted; what lies in quarantine is out of the way already."""
    for trial_id, reason in outcomes.broken.items():
        if layout.trials.joinpath(trial_id).is_file() or layout.outcome(trial_id).exists():
            yield Damage(Place.OUTCOME, trial_id, reason.partition(";")[0])


def _not_reproduced(retrained: tuple[Retrained, ...]) -> Iterator[Damage]:
    for again in retrained:
        if again.detail or again.n_beyond:
            gap = max(again.largest_difference.values(), default=0.0)
            beyond = f"{again.n_beyond} of {again.n_examples} examples beyond the tolerance, P(yes) by up to {gap:.2g}"
            yield Damage(Place.RETRAINED, again.trial_id, f"came out {again.state}, {again.detail or beyond}")


def _again(outcome: Outcome, study: Study, layout: StoreLayout) -> WorkOrder:
    """In as many micro-batches as the first time, for the order of sums depends on them; and in any time."""
    order = order_of(outcome.trial, study, layout, n_micro_batches=outcome.cost.n_micro_batches)
    return order.model_copy(update={"timeout_s": None})
