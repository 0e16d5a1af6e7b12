"""A GGUF file of llama.cpp, brought to full precision: every tensor read, and none of the file's passed over."""

from pathlib import Path

import torch
from gguf import GGUFReader
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

from workers.contract.errors import InputError, Problem
from workers.models.reading.files import AGAIN, check_no_pointer
from workers.models.reading.tensors import listed, read_tensors
from workers.models.reading.tokenizers import fit_tokenizer, name_end

# Tensors of experts, which transformers takes apart before it names them.
EXPERTS = "_exps."


def sketch_gguf(path: Path) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    """Configuration and tokenizer of one file, whose tensors are not read.

    Raises:
        InputError: It can't be read, or names no end of text.
    """
    check_no_pointer(path)
    try:
        config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except Exception as error:  # noqa: BLE001 - reader, converter and tokenizers each raise errors of their own
        raise InputError(_unreadable(path, error)) from None
    name_end(tokenizer, where=path)
    return config, tokenizer


def read_gguf(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model, in float32, and tokenizer of one file.

    Raises:
        InputError: It can't be read, its tensors are not those of its architecture, or its tokenizer does not fit.
    """
    check_no_pointer(path)
    settings = {"gguf_file": path.name, "dtype": torch.float32}
    try:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        model = read_tensors(AutoModelForCausalLM.from_pretrained, path.parent, settings)
        passed_over = unread(path, model)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - reader, converter and tokenizers each raise errors of their own
        raise InputError(_unreadable(path, error)) from None
    if passed_over:
        what = f"{path} holds {listed(passed_over)}, which transformers passes over"
        raise InputError(Problem("bases", what, "give the model as safetensors"))
    fit_tokenizer(tokenizer, model, where=path)
    return model, tokenizer


def _unreadable(path: Path, error: Exception) -> Problem:
    what = f"{path} can't be read as a GGUF file ({type(error).__name__})"
    return Problem("bases", what, f"{AGAIN}, or choose an architecture that transformers reads")


def unread(path: Path, model: PreTrainedModel) -> list[str]:
    """Tensors of the file that have no place in the model, such as the rope factors of a Llama 3.1."""
    reader = GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config={})
    places = get_gguf_hf_weights_map(model, processor)
    return sorted(tensor.name for tensor in reader.tensors if tensor.name not in places and EXPERTS not in tensor.name)
