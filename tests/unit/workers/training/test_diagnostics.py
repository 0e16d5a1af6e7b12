"""Mechanism: losses and gradients against hand-made ones, and the examples that a trial is taught and probed with."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from support.studies.orders import micro_spec, micro_training, order_of
from support.studies.toys import BREAK, DELIMITER, END, NO, YES, ToyModel, losses_by_hand
from workers.cohort.splits import balanced_train_rows
from workers.contract.errors import InputError
from workers.contract.layout import StoreLayout
from workers.contract.recipes.teaching import Supervision, TemplateTeacherRecipe
from workers.contract.trial import DiagnosticsRecipe, ObjectiveRecipe, TrialSpec
from workers.preparing.prepare import prepare
from workers.training.diagnostics import (
    ProbeExample,
    Pull,
    TrainingDiagnostics,
    cosine,
    fractions_at,
    gradient_share,
    measure,
)
from workers.training.fine_tuning import training_examples
from workers.training.probe import probe_of
from workers.training.views import Scaffold, View
from workers.work.bench import Bench, Work
from workers.work.meter import training_flops
from workers.work.training_set import TrainingSet, explained


def probe_example(prompt: list[int], rationale: list[int], label: int) -> ProbeExample:
    direct = View([*prompt, DELIMITER], [label], label_at=0)
    target = [*rationale, BREAK, DELIMITER, label]
    return ProbeExample(direct, View(prompt, target, label_at=len(target) - 1), n_rationale_tokens=len(rationale))


PROBE = [
    probe_example([10, 11, 12], [13, 14], YES),
    probe_example([15], [16, 17, 18, 19], NO),
    probe_example([20, 21], [22], YES),
]


def pulls_by_hand(model: ToyModel) -> dict[str, torch.Tensor]:
    """The three mean losses over the probe, one example after the other."""
    direct, rationale, conditioned = [], [], []
    for example in PROBE:
        assert example.reasoned is not None
        direct.append(losses_by_hand(model, example.direct)[0])
        losses = losses_by_hand(model, example.reasoned)
        rationale.append(losses[: example.n_rationale_tokens].mean())
        conditioned.append(losses[-1])
    by_name = {"direct": direct, "rationale": rationale, "conditioned": conditioned}
    return {name: torch.stack(losses).mean() for name, losses in by_name.items()}


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_losses_and_gradients_are_means_over_examples_whatever_the_batch(batch_size: int) -> None:
    model = ToyModel()
    pulls = measure(model, PROBE, batch_size=batch_size, pad_token=END)
    for name, loss in pulls_by_hand(model).items():
        gradient = parameters_to_vector(torch.autograd.grad(loss, list(model.parameters()), retain_graph=True))
        assert pulls[name].loss == pytest.approx(loss.item(), abs=1e-6)
        torch.testing.assert_close(pulls[name].gradient, gradient.double(), atol=1e-6, rtol=1e-5)


def test_measuring_stores_no_gradient_and_keeps_the_mode() -> None:
    for mode in (True, False):
        model = ToyModel().train(mode)
        measure(model, PROBE, batch_size=2, pad_token=END)
        assert all(parameter.grad is None for parameter in model.parameters())
        assert model.training is mode


def test_cosines_are_those_of_the_angle_and_null_where_there_is_none() -> None:
    east, north, west = (
        Pull(0.0, torch.tensor(point, dtype=torch.float64)) for point in ([2.0, 0], [0, 3.0], [-1.0, 0])
    )
    assert cosine(east, east) == pytest.approx(1)
    assert cosine(east, north) == pytest.approx(0)
    assert cosine(east, west) == pytest.approx(-1)
    assert cosine(east, None) is None
    assert cosine(east, Pull(0.0, torch.zeros(2, dtype=torch.float64))) is None


def test_gradient_share_is_that_of_the_norms() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    unused = torch.nn.Parameter(torch.ones(3))
    label, rest = (weight * torch.tensor([3.0, 4.0])).sum(), weight[0] * 15.0
    assert gradient_share([(label, rest)], [weight, unused]) == pytest.approx(5 / 20)
    assert gradient_share([(label / 4, rest / 2), (label * 3 / 4, rest / 2)], [weight]) == pytest.approx(5 / 20)
    assert gradient_share([(weight.sum() * 0, weight.sum() * 0)], [weight]) is None


def test_probes_come_before_the_first_step_at_the_shares_of_the_protocol_and_after_the_last() -> None:
    due = {step: fractions_at(step, steps=40) for step in range(41)}
    assert {step: fractions for step, fractions in due.items() if fractions} == {
        0: [0.0],
        4: [0.1],
        10: [0.25],
        20: [0.5],
        40: [1.0],
    }
    assert [fraction for step in range(4) for fraction in fractions_at(step, steps=3)] == [0.0, 0.1, 0.25, 0.5, 1.0]


def test_labels_alone_have_a_direct_pull_and_nothing_to_compare_it_with(tmp_path: Path) -> None:
    alone = [ProbeExample(example.direct) for example in PROBE]
    diagnosis = TrainingDiagnostics(ToyModel(), {"train": alone}, steps=40, batch_size=2, pad_token=END)
    diagnosis.after(0)
    diagnosis.write(tmp_path / "diagnostics.parquet")
    (row,) = pd.read_parquet(tmp_path / "diagnostics.parquet").to_dict("records")
    assert row["loss_direct"] > 0
    assert pd.isna([row["loss_rationale"], row["norm_conditioned"], row["cos_direct_rationale"]]).all()


def test_operations_are_counted_by_matrix_and_token() -> None:
    class Sized(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(50, 4)
            self.body = torch.nn.Linear(4, 4)  # its bias is a vector
            self.adapter = torch.nn.Linear(4, 2, bias=False)
            self.head = torch.nn.Linear(4, 50, bias=False)
            for part in (self.embedding, self.body, self.head):
                part.requires_grad_(False)

        def get_input_embeddings(self) -> torch.nn.Module:
            return self.embedding

        def get_output_embeddings(self) -> torch.nn.Module:
            return self.head

    model = Sized()
    expected = (4 * 16 + 6 * 8) * 100 + 4 * 200 * 10
    assert training_flops(model, n_input_tokens=100, n_target_tokens=10) == expected
    model.head.weight = model.embedding.weight  # tied: no look-up, and yet a matrix
    assert training_flops(model, n_input_tokens=100, n_target_tokens=10) == expected


def work_on(spec: TrialSpec, store: Path, folder: Path) -> tuple[Work, Scaffold]:
    prepare([order_of(spec, store)])
    work = Work(spec=spec, layout=StoreLayout(store), folder=folder, bench=Bench())
    base, answer = work.base
    return work, Scaffold.of(base.tokenizer, answer)


def test_a_trial_is_trained_on_the_sample_of_its_draw(store: Path, tmp_path: Path) -> None:
    specs = [micro_spec(Supervision.LABEL_ONLY, train_size=64, training_draw=draw) for draw in (0, 1)]
    first, other = (set(TrainingSet.of(work_on(spec, store, tmp_path)[0]).rows) for spec in specs)
    assert len(first) == len(other) == 64 and len(first & other) < 48
    assert specs[0].trial_id == micro_spec(Supervision.LABEL_ONLY, train_size=64).trial_id != specs[1].trial_id


def test_examples_that_a_filtered_teacher_left_out_are_dropped_and_counted(store: Path, tmp_path: Path) -> None:
    spec = micro_spec(Supervision.FREE_FORM, teacher=TemplateTeacherRecipe(label_access="filtered"), train_size=64)
    work, words = work_on(spec, store, tmp_path)
    rows = balanced_train_rows(work.labels, size=64, salt=spec.cohort.split_salt)
    is_written = [len(rationale) > 0 for rationale in work.rationale_tokens(rows)]
    taught = TrainingSet.of(work)
    assert taught.n_dropped == is_written.count(False) > 0
    assert len(training_examples(work, words, taught.rows)) == is_written.count(True)
    assert taught.rows.tolist() == rows[is_written].tolist()
    assert taught.prevalence.train == pytest.approx(work.outcomes[rows[is_written]].mean())


def test_nobody_can_change_a_training_set(store: Path, tmp_path: Path) -> None:
    taught = TrainingSet.of(work_on(micro_spec(), store, tmp_path)[0])
    with pytest.raises(ValueError, match="read-only"):
        taught.rows[0] = 1
    with pytest.raises(FrozenInstanceError):
        taught.n_dropped = 1  # type: ignore[misc]


def test_a_teacher_that_wrote_nothing_is_bad_input(store: Path, tmp_path: Path) -> None:
    work, _ = work_on(micro_spec(Supervision.FREE_FORM), store, tmp_path)
    is_scored = (work.labels["split"] == "held_out").to_numpy()
    with pytest.raises(InputError, match="no rationale for any of the 10 training examples"):
        explained(work, is_scored.nonzero()[0][:10])


def test_the_probe_is_balanced_and_the_same_for_every_objective(store: Path, tmp_path: Path) -> None:
    diagnostics = DiagnosticsRecipe(n_probe=8)
    probes = []
    for objective in (ObjectiveRecipe(), ObjectiveRecipe(kind="span_balanced", weight=0.9)):
        training = micro_training(diagnostics=diagnostics, objective=objective)
        work, words = work_on(micro_spec(Supervision.FREE_FORM, training=training), store, tmp_path)
        probes.append(probe_of(work, words, TrainingSet.of(work).rows))
    assert probes[0] == probes[1]
    labels = [example.direct.target[0] for example in probes[0]["train"]]
    assert sorted(labels.count(label) for label in set(labels)) == [4, 4]
    assert all(example.reasoned is not None for example in probes[0]["train"])


def test_no_probe_is_taken_unless_it_is_asked_for(store: Path, tmp_path: Path) -> None:
    work, words = work_on(micro_spec(Supervision.FREE_FORM), store, tmp_path)
    assert probe_of(work, words, TrainingSet.of(work).rows) == {}


def test_labels_alone_are_probed_on_train_and_tuning(store: Path, tmp_path: Path) -> None:
    training = micro_training(diagnostics=DiagnosticsRecipe(n_probe=6))
    work, words = work_on(micro_spec(training=training), store, tmp_path)
    probe = probe_of(work, words, TrainingSet.of(work).rows)
    assert {split: len(examples) for split, examples in probe.items()} == {"train": 6, "tuning": 6}
    assert all(example.reasoned is None for examples in probe.values() for example in examples)
