"""What each change of arithmetic saves: CPU-seconds of the old way and the new in turns, and how far numbers move.

`python tests/benchmarks/arithmetic.py STORE [ROUNDS]`: on the first trained trial in a store's folder, whose inputs are
prepared there; the store stays as it is. One thread: run it with OMP_NUM_THREADS=1.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from peft import PeftModel
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.initialization import no_init_weights
from transformers.modeling_layers import GradientCheckpointingLayer

from workers.contract.inputs import InputKind
from workers.contract.layout import StoreLayout
from workers.contract.metrics import areas
from workers.contract.outcome import Outcome
from workers.contract.trial import Method
from workers.models.adapters import fresh_adapter, save_adapter, stored_adapter
from workers.models.base import Base
from workers.models.engine import Engine, deepspeed_engine
from workers.models.last_layer import computed_where_read
from workers.models.lora_products import read_in_one_product, trained_in_few_products
from workers.scoring.evaluating import Questions
from workers.scoring.openers import opener_of
from workers.scoring.scorer import Scorer
from workers.training.fine_tuning import training_examples
from workers.training.steps import batches, learn_targets
from workers.training.views import Scaffold
from workers.work.bench import Bench, Work
from workers.work.training_set import TrainingSet

N_STEPS, N_ROWS = 2, 24
Way = Callable[[], np.ndarray]


def compared(name: str, old: Way, new: Way, *, rounds: int) -> None:
    """One line: medians of both, their ratio, the largest difference of what they give."""
    took: dict[str, list[float]] = {"old": [], "new": []}
    gave: dict[str, np.ndarray] = {}
    for _ in range(rounds + 1):
        for way, do in (("old", old), ("new", new)):
            began = time.process_time()
            gave[way] = do()
            took[way].append(time.process_time() - began)
    first = took["new"][0]  # that of either way warms up
    took = {way: every[1:] for way, every in took.items()}
    before, after = (1e3 * statistics.median(took[way]) for way in ("old", "new"))
    apart = np.abs(gave["old"] - gave["new"]).max()
    spread = " ".join(f"{one / other:.2f}" for one, other in zip(took["old"], took["new"], strict=True))
    sys.stdout.write(
        f"{name:<24} {before:10.1f} ms {after:10.1f} ms  {before / after:5.2f} x  ({spread})  "
        f"moved {apart:.1e}, first {first:.1f} s\n"
    )
    sys.stdout.flush()


def compare_training(work: Work, *, rounds: int) -> None:
    """Steps without a learning rate, so that both ways do the same again and again: loss and gradient norm."""
    base, answer = work.base
    recipe, rows = work.training, TrainingSet.of(work).rows
    examples = training_examples(work, Scaffold.of(base.tokenizer, answer, work.spec.base), rows)
    orders = [order for order, _ in zip(batches(len(examples), recipe), range(N_STEPS), strict=False)]
    with fresh_adapter(base.model, recipe.lora, seed=recipe.seed) as model:
        move(model)
        with deepspeed_engine(model.train(), recipe, device=work.bench.device) as engine:

            def steps(way: AbstractContextManager[None]) -> np.ndarray:
                seen = []
                with way:
                    for order in orders:
                        batch = [examples[row] for row in order]
                        loss = learn_targets(engine, batch, recipe, step=2, pad_token=answer.end, n_parts=1).loss
                        seen += [loss, engine.step(learning_rate=0.0).grad_norm]
                return np.array(seen)

            few = partial(trained_in_few_products, model, recipe)
            compared(f"{N_STEPS} training steps", lambda: steps(nullcontext()), lambda: steps(few()), rounds=rounds)
            late = partial(computed_where_read, model)
            with few():
                compared("… a late last layer", lambda: steps(nullcontext()), lambda: steps(late()), rounds=rounds)
            with few(), late():
                by_compiler = compiled(model)
                compared("… compiled", lambda: steps(nullcontext()), lambda: steps(by_compiler()), rounds=rounds)
                whole = partial(summed_for_nobody, engine)
                compared("… alone", lambda: steps(whole()), lambda: steps(nullcontext()), rounds=rounds)


def compiled(model: PeftModel) -> Callable[[], AbstractContextManager[None]]:
    """Every layer but the last through torch's compiler, for any number of positions, during a block."""
    layers = [one for one in model.modules() if isinstance(one, GradientCheckpointingLayer)][:-1]
    ways = {layer: torch.compile(layer._call_impl, dynamic=True) for layer in layers}

    @contextmanager
    def block() -> Iterator[None]:
        for layer, way in ways.items():
            layer._compiled_call_impl = way
        yield
        for layer in layers:
            layer._compiled_call_impl = None

    return block


@contextmanager
def summed_for_nobody(engine: Engine) -> Iterator[None]:
    """As DeepSpeed sums the gradients of several processes, and AdamW takes tensor after tensor."""
    groups = engine._engine.basic_optimizer.param_groups
    with patch.object(engine, "_is_alone", new=False):
        for group in groups:
            group["fused"] = False
        yield
        for group in groups:
            group["fused"] = True


def move(model: PeftModel) -> None:
    """An adapter that changes something: B begins at 0."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.02)


def compare_reading(work: Work, adapter: Path, *, rounds: int) -> None:
    """Prompts written for and read: P(yes)."""
    base, answer = work.base
    asked = Questions.of(work, base)
    with stored_adapter(base.model, adapter) as model:
        opener = opener_of(model.eval(), pad_token=answer.end, together=work.rows_together)
        scorer = Scorer(opener, base, answer, evaluation=work.spec.evaluation)

        def read(way: AbstractContextManager[None]) -> np.ndarray:
            with way:
                parts = list(scorer.score(asked.prompts[:N_ROWS], batch_size=N_ROWS, prefix=asked.prefix))
            return np.concatenate([part.p_forced for part in parts])

        one = partial(read_in_one_product, model)
        compared(f"{N_ROWS} rows scored", lambda: read(nullcontext()), lambda: read(one()), rounds=rounds)
        late = partial(computed_where_read, model)
        with one():
            compared("… a late last layer", lambda: read(nullcontext()), lambda: read(late()), rounds=rounds)


def compare_metrics(*, rounds: int) -> None:
    """AUC, average precision and Brier score of invented rows."""
    source = np.random.default_rng(0)
    risks = source.random(206).round(3)
    outcomes = (source.random(206) < risks).astype(np.int64)
    weights = np.where(outcomes == 1, 1.0, 3.7)

    def library() -> np.ndarray:
        given = {"sample_weight": weights}
        found = roc_auc_score, average_precision_score, brier_score_loss
        return np.array([score(outcomes, risks, **given) for score in found])

    def ours() -> np.ndarray:
        return np.array([*areas(risks, outcomes, weights), np.average((risks - outcomes) ** 2, weights=weights)])

    compared("metrics of 206 rows", library, ours, rounds=rounds)


def compare_loading(folder: Path, *, rounds: int) -> None:
    """A model before its weights are read."""
    config = AutoConfig.from_pretrained(folder)

    def built(way: AbstractContextManager[None]) -> np.ndarray:
        with way:
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        return np.array([float(one.double().sum()) for one in model.buffers()])

    compared("a base built", lambda: built(nullcontext()), lambda: built(no_init_weights()), rounds=rounds)


def compare_saving(work: Work, base: Base, *, rounds: int) -> None:
    """An adapter stored by peft and by us, into a new folder each time."""

    def saved(write: Callable[[Path], object]) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / "adapter")
        return np.zeros(1)

    with fresh_adapter(base.model, work.training.lora, seed=1) as model:
        compared(
            "an adapter stored",
            lambda: saved(lambda place: model.save_pretrained(place, save_embedding_layers=False)),
            lambda: saved(lambda place: save_adapter(model, place, base=work.base_recipe)),
            rounds=rounds,
        )


def main(store: Path, rounds: int) -> None:
    """All comparisons on one trial of a store."""
    torch.set_num_threads(1)
    layout = StoreLayout(store.resolve())
    outcomes = (Outcome.load(path) for path in sorted(layout.trials.glob("*/outcome.json")))
    outcome = next(one for one in outcomes if one.trial.spec.method is Method.LORA and one.trial.spec.teacher)
    with tempfile.TemporaryDirectory() as scratch:
        work = Work(spec=outcome.trial.spec, layout=layout, folder=Path(scratch), bench=Bench())
        base, _ = work.base
        compare_training(work, rounds=rounds)
        compare_reading(work, layout.trial(outcome.trial_id) / outcome.attempt / "adapter", rounds=rounds)
        compare_metrics(rounds=rounds)
        compare_loading(work.input(InputKind.BASE), rounds=rounds)
        compare_saving(work, base, rounds=rounds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5)
