"""What a worker keeps from trial to trial."""

from pathlib import Path

import torch

from support.studies.orders import micro_spec
from workers.contract.inputs import InputKind, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.recipes.bases import BaseSettings
from workers.work.bench import Bench


def test_what_was_drawn_of_a_cohort_is_drawn_once_a_worker() -> None:
    bench, drawn = Bench(), list[str]()

    def draw() -> int:
        drawn.append("again")
        return 7

    assert [bench.chosen(("cohort", 32), draw), bench.chosen(("cohort", 32), draw)] == [7, 7]
    assert bench.chosen(("cohort", 64), draw) == 7
    assert drawn == ["again", "again"]


def test_products_are_as_exact_as_the_trial_at_hand_states(prepared_store: Path) -> None:
    layout, bench = StoreLayout(prepared_store), Bench()
    folder = bench.folder(input_recipes(micro_spec())[InputKind.BASE], layout)
    stated = {"float32": ("highest", False), "tf32": ("high", True), "bfloat16": ("highest", False)}
    for precision in (*stated, *stated, "float32"):
        model = bench.base(folder, precision=precision, settings=BaseSettings())[0].model
        assert model.dtype is (torch.bfloat16 if precision == "bfloat16" else torch.float32)
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == stated[precision]
        # Behind a left padding its gradients are no numbers.
        assert not torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
