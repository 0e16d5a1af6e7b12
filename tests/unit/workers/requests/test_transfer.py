"""A stored adapter scores another cohort without training, once, and only if it is the one that was committed."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.cli.views.transfer import disclosed
from support.places import FRAMINGHAM
from support.stores.file_systems import made_though_answered
from support.studies.orders import COHORT, comparator_spec, micro_spec, order_of
from workers.attempt.runner import Runner
from workers.cohort.fetch import TABLES
from workers.contract.answers.transfer import Transfer, TransferOrder
from workers.contract.errors import InputError, StoreError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.recipes.scorings import Scoring
from workers.contract.system.durable import file_digests
from workers.contract.trial import Method
from workers.requests.transfer import apply_adapter

OTHER = COHORT.model_copy(update={"index": "exam_1"})


@pytest.fixture(scope="module")
def trained(prepared_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store with one committed micro trial, and its id."""
    store = Path(shutil.copytree(prepared_store, tmp_path_factory.mktemp("transfer") / "store"))
    spec = micro_spec()
    for _ in Runner(n_threads=1).run(order_of(spec, store)):
        pass
    return store, spec.trial_id


def order(store: Path, trial_id: str) -> TransferOrder:
    return TransferOrder(
        trial_id=trial_id, store=str(store), cohort=OTHER, sources={TABLES["framingham.csv"]: str(FRAMINGHAM)}
    )


def test_another_cohort_is_scored_and_nothing_is_trained(trained: tuple[Path, str]) -> None:
    store, trial_id = trained
    before = Outcome.load(StoreLayout(store).outcome(trial_id))
    transfer = apply_adapter(order(store, trial_id))
    assert transfer.cohort_digest == OTHER.digest()
    assert set(transfer.scores) == {"tuning", "held_out"}
    assert transfer.scores["held_out"].metrics[Scoring.STRICT].roc_auc is not None
    assert transfer.scores["held_out"].n_examples < before.scores["held_out"].n_examples
    assert Outcome.load(StoreLayout(store).outcome(trial_id)) == before
    assert list(transfer.files) == ["predictions.parquet"]


@pytest.mark.parametrize("code", [errno.EEXIST, errno.EIO])
def test_what_was_recorded_keeps_its_files_whatever_the_file_system_answers(
    trained: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    store, trial_id = Path(shutil.copytree(trained[0], tmp_path / "store")), trained[1]
    record = StoreLayout(store).transfer(trial_id, OTHER.digest())
    apply_adapter(order(store, trial_id))  # prepares the cohort
    shutil.rmtree(record.parent)
    with monkeypatch.context() as patch, suppress(OSError):
        patch.setattr("os.link", made_though_answered(OSError(code, os.strerror(code))))
        apply_adapter(order(store, trial_id))
    transfer = Transfer.model_validate_json(record.read_bytes())
    assert file_digests(record.parent / transfer.folder) == transfer.files


def test_what_was_scored_before_is_not_scored_again(trained: tuple[Path, str]) -> None:
    store, trial_id = trained
    first = apply_adapter(order(store, trial_id))
    assert apply_adapter(order(store, trial_id)) == first


def test_small_counts_of_the_other_cohort_are_hidden(trained: tuple[Path, str]) -> None:
    store, trial_id = trained
    view = disclosed(apply_adapter(order(store, trial_id)), min_cell=10_000)
    assert {split.n_events for split in view.splits} == {"≤10000"}


def test_a_trial_without_an_adapter_is_refused(trained: tuple[Path, str]) -> None:
    store, _ = trained
    spec = comparator_spec(Method.AGE_SEX)
    with pytest.raises(InputError, match="has no outcome"):
        apply_adapter(order(store, spec.trial_id))
    for _ in Runner(n_threads=1).run(order_of(spec, store)):
        pass
    with pytest.raises(InputError, match="holds no adapter"):
        apply_adapter(order(store, spec.trial_id))


def test_a_changed_adapter_is_refused(trained: tuple[Path, str]) -> None:
    store, trial_id = trained
    layout = StoreLayout(store)
    adapter = layout.trial(trial_id) / Outcome.load(layout.outcome(trial_id)).attempt / "adapter"
    with (adapter / "adapter_model.safetensors").open("ab") as file:
        file.write(b"\0")
    other = TransferOrder(
        trial_id=trial_id,
        store=str(store),
        cohort=COHORT.model_copy(update={"index": "exam_3"}),
        sources={TABLES["framingham.csv"]: str(FRAMINGHAM)},
    )
    with pytest.raises(StoreError, match="not the one that was committed"):
        apply_adapter(other)


def test_the_own_cohort_under_another_split_is_refused(trained: tuple[Path, str]) -> None:
    store, trial_id = trained
    resplit = order(store, trial_id).model_copy(update={"cohort": COHORT.model_copy(update={"split_salt": "other"})})
    with pytest.raises(InputError, match="people whom the adapter knows; write `split_salt: rationale-sweep`"):
        apply_adapter(resplit)
