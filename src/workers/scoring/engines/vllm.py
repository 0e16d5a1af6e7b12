"""vLLM as a writer: the prepared base's folder, and a trial's stored adapter as a LoRA request.

Written against vLLM's documented interface and unproven: it needs CUDA, and has not run on it. Imported only when used.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.contract.errors import InputError, Problem
from workers.contract.trial import Precision

# What vLLM keeps room for; an adapter of another rank is padded to the next.
RANKS = (8, 16, 32, 64, 128, 256)
# The base stands on the same GPU a second time, to be read.
GPU_SHARE = 0.5


@dataclass(frozen=True)
class Library:
    """The four names of vLLM that are used here."""

    llm: Callable[..., Any]
    sampling_params: Callable[..., Any]
    tokens_prompt: Callable[..., Any]
    lora_request: Callable[..., Any]


def installed() -> Library:
    """The library of this machine.

    Raises:
        InputError: It is not installed.
    """
    try:
        vllm = importlib.import_module("vllm")
        lora = importlib.import_module("vllm.lora.request")
    except ImportError:
        remedy = "`pip install rationale-sweep[vllm]` on a machine with CUDA, or write `engine: transformers`"
        raise InputError(Problem("evaluation.engine", "vllm is not installed here", remedy)) from None
    return Library(vllm.LLM, vllm.SamplingParams, vllm.TokensPrompt, lora.LoRARequest)


@dataclass(frozen=True)
class Served:
    """A base that vLLM has loaded, for one trial's adapter after another."""

    library: Library
    llm: Any

    @classmethod
    def load(
        cls, folder: Path, *, architecture: str, precision: Precision, rank: int | None, library: Library
    ) -> "Served":
        """Load a prepared base.

        Args:
            folder: Weights and configuration as transformers writes them.
            architecture: Class of the model, which the configuration of a base built here does not name.
            rank: Of the adapters that will come; null where none will.
        """
        adapters = {} if rank is None else {"max_loras": 1, "max_lora_rank": min(r for r in RANKS if r >= rank)}
        llm = library.llm(
            model=str(folder),
            skip_tokenizer_init=True,
            trust_remote_code=False,
            dtype=precision,
            seed=0,
            gpu_memory_utilization=GPU_SHARE,
            hf_overrides={"architectures": [architecture]},
            enable_lora=rank is not None,
            **adapters,
        )
        return cls(library, llm)


class Vllm:
    """Writes with a loaded base, under an adapter or bare.

    Args:
        adapter: Folder that peft wrote; null for the bare base.
        number: Of the adapter, from 1 on: vLLM knows adapters apart by it alone.
    """

    def __init__(self, served: Served, *, adapter: Path | None, number: int) -> None:
        self._served = served
        self._request = served.library.lora_request(f"adapter-{number}", number, str(adapter)) if adapter else None

    def complete(self, texts: Sequence[list[int]], *, max_new_tokens: int, ends: frozenset[int]) -> list[list[int]]:
        """The likeliest continuations, in the order of the texts."""
        library = self._served.library
        outputs = self._served.llm.generate(
            [library.tokens_prompt(prompt_token_ids=list(text)) for text in texts],
            library.sampling_params(
                temperature=0.0,
                max_tokens=max_new_tokens,
                stop_token_ids=sorted(ends),
                ignore_eos=True,  # the ends are ours; what the model's files name would end other texts
                detokenize=False,
            ),
            use_tqdm=False,
            lora_request=self._request,
        )
        return [list(output.outputs[0].token_ids) for output in outputs]
