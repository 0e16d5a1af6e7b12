"""What an adapter tells of whom it was trained on: measured on one that learnt by heart and on one that did not."""

import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from peft import PeftConfig

from support.launches.running import finish
from support.launches.servers import answer, serving
from support.launches.teaching import always
from support.studies.orders import micro_spec, micro_training, order_of
from workers.contract.answers.export import Export, ExportOrder, IntervalEstimate, Membership
from workers.contract.data_class import DataClass
from workers.contract.errors import InputError
from workers.contract.layout import StoreLayout
from workers.contract.recipes.teaching import EndpointTeacherRecipe, Supervision
from workers.contract.trial import EndpointPlace, TrialSpec
from workers.models.adapters import stored_adapter
from workers.requests.export import BASE, RECORD, export_adapter, refuse_telling
from workers.requests.membership import N_EACH, KnownMembers, Resampled, measure_membership, members_of, others_of
from workers.requests.transfer import committed_adapter
from workers.work.bench import Bench, Work
from workers.work.training_set import TrainingSet

# A hundred times through the same 32 texts, against twice through 256.
BY_HEART = micro_spec(Supervision.FREE_FORM, training=micro_training(steps=400, learning_rate=1e-2))
USUAL = micro_spec(Supervision.FREE_FORM, train_size=256, training=micro_training(steps=64))


@pytest.fixture(scope="module")
def store(prepared_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both trials, committed; not to be changed but by exports."""
    store = Path(shutil.copytree(prepared_store, tmp_path_factory.mktemp("export") / "store"))
    for spec in (BY_HEART, USUAL):
        assert finish(order_of(spec, store)).state == "scored"
    return store


def work_on(spec: TrialSpec, store: Path) -> Work:
    return Work(spec=spec, layout=StoreLayout(store), folder=store, bench=Bench())


def order_for(spec: TrialSpec, store: Path, to: Path, *, reason: str = "") -> ExportOrder:
    return ExportOrder(
        trial_id=spec.trial_id,
        store=str(store),
        to=str(to),
        by="me",
        at="now",
        data_class=DataClass.PUBLIC,
        reason=reason,
    )


def measured(spec: TrialSpec, store: Path) -> Membership:
    work = work_on(spec, store)
    _, adapter = committed_adapter(spec.trial_id, work.layout)
    base, _ = work.base
    with stored_adapter(base.model, adapter) as model:
        return measure_membership(work, model.eval(), order_for(spec, store, store / "out"))


def exported(spec: TrialSpec, store: Path, to: Path, *, reason: str = "") -> Export:
    export_adapter(order_for(spec, store, to, reason=reason))
    newest = max(store.glob(f"exports/{spec.trial_id}-*.json"), key=lambda path: int(path.stem.split("-")[1]))
    return Export.model_validate_json(newest.read_bytes())


@pytest.fixture(scope="module")
def by_heart(store: Path) -> Membership:
    return measured(BY_HEART, store)


def test_an_adapter_that_learnt_by_heart_is_told_and_a_usual_one_is_not(store: Path, by_heart: Membership) -> None:
    usual = measured(USUAL, store)
    assert by_heart.attack.low > by_heart.most_auc and not by_heart.is_within
    assert usual.attack.low < 0.5 < usual.attack.high < usual.most_auc and usual.is_within
    assert by_heart.extracted.value > usual.extracted.high


def test_nobody_of_the_others_was_trained_on_and_all_members_were(store: Path) -> None:
    work = work_on(USUAL, store)
    members, others = members_of(work), others_of(work)
    trained = set(work.labels["subject_id"].iloc[TrainingSet.of(work).rows])
    assert set(members.owners) <= trained and not set(others.owners) & trained
    assert len(members.examples) == len(others.examples) == N_EACH
    assert all(len(view.target) > 10 for example in others.examples for view in example)


def test_the_attack_is_the_area_under_the_curve_within_labels() -> None:
    labels = np.array([True, True, False, False])
    members = KnownMembers([()] * 4, ["a", "b", "c", "d"], labels)
    others = KnownMembers([()] * 4, ["e", "f", "g", "h"], labels)
    resampled = Resampled.of(members, others)
    # Of yes 3 in 4 pairs are above, of no one is and one is even; across labels nothing counts.
    found = resampled.auc(np.array([1.0, 3.0, 20.0, 10.0]), np.array([0.0, 2.0, 15.0, 10.0]))
    assert found.value == pytest.approx((3 + 2.5) / 8)
    assert resampled.auc(np.ones(4), np.ones(4)).value == 0.5
    assert resampled.difference(labels, np.zeros(4, dtype=bool)).value == 0.5


def test_a_participant_with_many_examples_widens_the_interval_as_one() -> None:
    draw = np.random.default_rng(0)
    scores = np.repeat(draw.normal(size=20), 10), np.repeat(draw.normal(size=20), 10)
    labels = np.ones(200, dtype=bool)
    widths = []
    for owners in ([str(row // 10) for row in range(200)], [str(row) for row in range(200)]):
        both = KnownMembers([()] * 200, owners, labels)
        found = Resampled.of(both, both).auc(*scores)
        widths.append(found.high - found.low)
    assert widths[0] > 2 * widths[1]


def test_a_copy_is_what_was_committed_with_its_check_and_private(store: Path, tmp_path: Path) -> None:
    record = exported(USUAL, store, tmp_path / "out")
    _, adapter = committed_adapter(USUAL.trial_id, StoreLayout(store))
    copied = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert Membership.model_validate(json.loads(copied.pop(RECORD))) == record.membership
    assert json.loads(copied.pop(BASE)) == {"kind": "builtin", "recipe": "micro_llama"}
    assert copied == {path.name: path.read_bytes() for path in adapter.iterdir()}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()}
    assert (modes, stat.S_IMODE((tmp_path / "out").stat().st_mode)) == ({0o600}, 0o700)
    assert PeftConfig.from_pretrained(tmp_path / "out").r == 8
    assert (record.to, record.by, record.at) == (str(tmp_path / "out"), "me", "now")


def test_of_a_public_cohort_it_leaves_with_what_was_found(store: Path, tmp_path: Path) -> None:
    record = exported(BY_HEART, store, tmp_path / "out")
    assert not record.membership.is_within


def test_of_a_controlled_cohort_it_leaves_within_the_bounds_or_for_a_reason_alone(by_heart: Membership) -> None:
    needed = by_heart.model_copy(update={"data_class": DataClass.CONTROLLED})
    with pytest.raises(InputError, match=r"may tell who was trained on: membership attack 0\.[89]"):
        refuse_telling(needed)
    refuse_telling(needed.model_copy(update={"reason": "their consent covers it"}))
    within, above = IntervalEstimate(value=0.5, low=0.4, high=0.6), IntervalEstimate(value=0.6, low=0.5, high=0.7)
    unsure = needed.model_copy(update={"attack": above, "extracted": IntervalEstimate(value=0, low=0, high=0)})
    with pytest.raises(InputError):
        refuse_telling(unsure)
    refuse_telling(unsure.model_copy(update={"attack": within}))


def test_too_few_to_compare_are_refused(store: Path, tmp_path: Path) -> None:
    spec = micro_spec(Supervision.FREE_FORM, train_size=8)
    finish(order_of(spec, store))
    with pytest.raises(InputError, match="8 trained ones can be compared"):
        exported(spec, store, tmp_path / "out")


@pytest.mark.parametrize(("place", "what"), [("none/out", "is no folder"), ("", "exists")])
def test_a_place_that_will_not_do_is_refused(store: Path, tmp_path: Path, place: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        exported(USUAL, store, tmp_path / place)


def test_where_a_teacher_wrote_for_nobody_else_answers_are_compared_and_that_is_not_enough(
    prepared_store: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(prepared_store, tmp_path / "store"))
    sparing = EndpointTeacherRecipe(kind="endpoint", model="m", ungrounded="keep", version=2)
    spec = micro_spec(Supervision.FREE_FORM, teacher=sparing)
    with serving(always(answer("The systolic pressure raises risk. Overall, the risk is raised."))) as server:
        place = EndpointPlace(base_url=server.base_url)
        assert finish(order_of(spec, store).model_copy(update={"endpoint": place})).state == "scored"
    found = measured(spec, store)
    assert (found.is_by_labels, found.is_within) == (True, False)
    assert (found.n_members, found.n_others) == (32, N_EACH)
    with pytest.raises(InputError, match="by their answers alone: nobody else has a rationale"):
        refuse_telling(found.model_copy(update={"data_class": DataClass.CONTROLLED}))
    refuse_telling(found)  # of a public cohort
