"""The engine that a trial names: whether it fits, found out before anything is trained, and the one that writes."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from workers.contract.answers.proof import RowsTogether
from workers.contract.errors import InputError, Problem
from workers.contract.inputs import InputKind, precision_of
from workers.contract.trial import Precision
from workers.scoring.choosing import greedy
from workers.scoring.engines.continuous import Continuous
from workers.scoring.engines.engine import CANNOT_RUN, WritingEngine, first_line
from workers.scoring.engines.vllm import Library, Served, Vllm, installed
from workers.scoring.listening import Counting
from workers.scoring.sessions import Plain
from workers.work.bench import Work

# Prompts from the shortest to the longest are tried, each for so many tokens.
TRIED = (12, 4, 9, 12)
REMEDY = "write `engine: transformers`"


def check_engine(work: Work, *, library: Callable[[], Library] = installed) -> None:
    """See that the engine is here and writes with this base what the base writes alone; once a base.

    Raises:
        InputError: It is not installed, can't run this base, or writes other texts.
    """
    match work.spec.evaluation.engine:
        case "vllm":
            library()
        case "continuous":
            base, answer = work.base
            precision = precision_of(work.spec)
            prompts = [[*answer.bos, *prompt] for prompt in _ragged(work)]
            work.bench.kept(
                ("continuous", work.input(InputKind.BASE), precision),
                lambda: try_continuous(base.model, prompts, pad_token=answer.end, precision=precision),
            )


def _ragged(work: Work) -> list[list[int]]:
    prompts = sorted(work.prompt_tokens(work.scored_rows.rows), key=len)
    return [prompts[place] for place in np.linspace(0, len(prompts) - 1, len(TRIED)).astype(int)]


@torch.inference_mode()
def try_continuous(model: PreTrainedModel, prompts: list[list[int]], *, pad_token: int, precision: Precision) -> bool:
    """But in float32 half of the texts may differ: they flip at ties, where an engine that is wrong gets none right."""
    name = model.config.model_type
    try:
        written = Continuous(model, pad_token=pad_token).complete(prompts, max_new_tokens=max(TRIED), ends=frozenset())
    except torch.OutOfMemoryError:
        raise
    except CANNOT_RUN as error:
        what = f"continuous batching can't write with {name} ({type(error).__name__}: {first_line(error)})"
        raise InputError(Problem("evaluation.engine", what, REMEDY)) from None
    listeners = [Counting(n_tokens) for n_tokens in TRIED]
    Plain(model, prompts, pad_token=pad_token, together=RowsTogether.ALONE).write(greedy, listeners)
    n_other = sum(
        listener.tokens != tokens[: listener.n_tokens] for listener, tokens in zip(listeners, written, strict=True)
    )
    if n_other > (0 if precision == "float32" else len(TRIED) // 2):
        what = f"continuous batching writes {n_other} of {len(TRIED)} texts otherwise than {name} alone"
        raise InputError(Problem("evaluation.engine", what, REMEDY))
    return True


def engine_of(
    work: Work,
    model: PreTrainedModel,
    *,
    pad_token: int,
    adapter: Path | None,
    library: Callable[[], Library] = installed,
) -> WritingEngine | None:
    """What writes with a model; null where transformers' own `generate` does.

    Args:
        adapter: Folder of the adapter that the model is under.
    """
    match work.spec.evaluation.engine:
        case "continuous":
            return Continuous(model, pad_token=pad_token)
        case "vllm":
            folder, architecture = work.input(InputKind.BASE), type(work.base[0].model).__name__
            rank = work.spec.training.lora.rank if adapter is not None and work.spec.training is not None else None
            served = work.bench.kept(
                ("vllm", folder, precision_of(work.spec), rank),
                lambda: Served.load(
                    folder,
                    architecture=architecture,
                    precision=precision_of(work.spec),
                    rank=rank,
                    library=library(),
                ),
            )
            return Vllm(served, adapter=adapter, number=_number_of(adapter))
        case _:
            return None


def _number_of(adapter: Path | None) -> int:
    """vLLM keeps adapters by number: another folder must have another one."""
    return 1 + int(hashlib.sha256(str(adapter).encode()).hexdigest()[:7], 16)
