"""A stored adapter applied to another cohort: external validation of one committed trial, no training.

The other cohort's inputs are prepared in the same store; scores and predictions lie beside the trial's own attempt. The
prior is that of the other cohort's train split: Brier score and calibration are those of a recalibrated model.
"""

import secrets
from contextlib import suppress
from pathlib import Path

from workers.contract.answers.transfer import Transfer, TransferOrder
from workers.contract.errors import InputError, Problem, StoreError
from workers.contract.inputs import input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.outcome import PREDICTIONS, Outcome
from workers.contract.recipes.cohorts import CohortRecipe
from workers.contract.system.durable import file_digests, link_exclusive, sync_tree
from workers.contract.system.opening import open_store, refuse_blinded
from workers.contract.system.removal import remove, try_to_remove
from workers.contract.trial import Method, WorkOrder
from workers.models.adapters import stored_adapter
from workers.preparing.fits import misfits
from workers.preparing.sketches import Sketches
from workers.preparing.workshop import Workshop
from workers.scoring.engines.chosen import check_engine
from workers.scoring.evaluating import score_model, tabulated
from workers.store.published import publish
from workers.work.bench import Bench, Work, unheard
from workers.work.predictions import Prevalence, score_predictions


def apply_adapter(order: TransferOrder) -> Transfer:
    """Score a committed trial's adapter on another cohort, or return what was scored before.

    Raises:
        InputError: The store is blinded, no such trial, it holds no adapter, or the cohort's data are wrong.
        StoreError: The outcome or the adapter is damaged.
    """
    layout = open_store(Path(order.store))
    refuse_blinded(layout)
    path = layout.transfer(order.trial_id, order.cohort.digest())
    with suppress(FileNotFoundError):
        return Transfer.load(path)
    outcome = _outcome(order.trial_id, layout)
    _refuse_same_people(outcome.trial.spec.cohort, order.cohort)
    spec = outcome.trial.spec.model_copy(update={"cohort": order.cohort})
    trial = outcome.trial.model_copy(update={"spec": spec})
    work_order = WorkOrder(trial=trial, store=order.store, sources=order.sources)
    with Sketches.opened() as sketches:
        workshop = Workshop(layout, work_order, sketches)
        for kind, recipe in input_recipes(spec.model_copy(update={"teacher": None})).items():
            publish(recipe, layout, workshop.builder(kind))
        asked = trial.model_copy(update={"spec": spec.model_copy(update={"teacher": None, "train_size": None})})
        if problems := misfits(work_order.model_copy(update={"trial": asked}), sketches):
            raise InputError(*problems)
    folder = path.parent / secrets.token_hex(4)
    folder.mkdir(parents=True)
    try:
        transfer = _score(outcome, Work(spec=spec, layout=layout, folder=folder, bench=Bench()))
        won = link_exclusive(path, transfer.sealed().model_dump_json(indent=1).encode())
    except BaseException:
        if not _is_named(folder, path):  # it is once linked, whatever failed after that
            try_to_remove(folder, within=layout.root)
        raise
    if not won:
        remove(folder, within=layout.root)
    return Transfer.load(path)


def _is_named(folder: Path, path: Path) -> bool:
    """Whether the record names this folder, or can't be read and may."""
    try:
        return Transfer.load(path).folder == folder.name
    except FileNotFoundError:
        return False
    except StoreError:
        return True


def committed_adapter(trial_id: str, layout: StoreLayout) -> tuple[Outcome, Path]:
    """A committed trial and the folder of its adapter, every file of which is the one that was committed.

    Raises:
        InputError: There is no such trial, or it has no adapter.
        StoreError: The outcome or the adapter is damaged.
    """
    outcome = _outcome(trial_id, layout)
    return outcome, _verified_adapter(outcome, layout)


def _outcome(trial_id: str, layout: StoreLayout) -> Outcome:
    """The committed trial whose adapter is wanted."""
    path = layout.outcome(trial_id)
    if not path.is_file():
        raise InputError(Problem("--trial", f"{trial_id} has no outcome", "name a trial that is done"))
    outcome = Outcome.load(path)
    if outcome.trial.spec.method is not Method.LORA or outcome.state != "scored":
        raise InputError(Problem("--trial", f"{trial_id} holds no adapter", "name a scored fine-tuning trial"))
    return outcome


def _refuse_same_people(trained: CohortRecipe, other: CohortRecipe) -> None:
    """Under another split, people whom the adapter was trained on would be scored."""
    same_source = trained.source == other.source and (
        trained.source_digest == other.source_digest
        if trained.source_digest is not None
        else getattr(trained, "seed", None) == getattr(other, "seed", None)
    )
    if same_source and trained.split_salt != other.split_salt:
        what = "is the trial's own cohort under another split: it would score people whom the adapter knows"
        raise InputError(Problem("cohort.split_salt", what, f"write `split_salt: {trained.split_salt}`"))


def _score(outcome: Outcome, work: Work) -> Transfer:
    base, answer = work.base
    labels = work.labels
    is_train = (labels["split"] == "train").to_numpy()
    if not is_train.any():
        what = "has no train split, so nobody tells its natural prevalence"
        raise InputError(Problem("cohort", what, "give it splits, or leave them to the hash"))
    natural = float(work.outcomes[is_train].mean())
    prevalence = Prevalence(train=outcome.train_prevalence, natural=natural)
    check_engine(work)
    adapter = _verified_adapter(outcome, work.layout)
    with stored_adapter(base.model, adapter) as model:
        read = unheard(score_model(work, model.eval(), base, answer, adapter=adapter))
    predictions = tabulated(work, read, invalid_score=prevalence.train)
    predictions.to_parquet(work.folder / PREDICTIONS, index=False)
    sync_tree(work.folder)
    return Transfer(
        trial_id=outcome.trial_id,
        cohort_digest=work.spec.cohort.digest(),
        train_prevalence=outcome.train_prevalence,
        natural_prevalence=natural,
        scores=dict(score_predictions(predictions, prevalence)),
        folder=work.folder.name,
        files=file_digests(work.folder),
    )


def _verified_adapter(outcome: Outcome, layout: StoreLayout) -> Path:
    """The adapter's folder, once every file in it is the one that was committed."""
    attempt = layout.trial(outcome.trial_id) / outcome.attempt
    expected = {name: digest for name, digest in outcome.files.items() if name.startswith("adapter/")}
    found = {f"adapter/{name}": digest for name, digest in file_digests(attempt / "adapter").items()}
    if found != expected or not expected:
        raise StoreError(f"trials/{outcome.trial_id}: the adapter is not the one that was committed; rerun the trial")
    return attempt / "adapter"
