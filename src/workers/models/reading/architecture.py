"""Which of transformers' classes reads a model as one that writes on from left to right; other kinds are refused.

A multimodal model is read whole, so that every tensor is accounted for, and its text decoder kept, where transformers
has that decoder as a model of its own. fp8 and mxfp4 are brought to full precision; no other quantisation is.
"""

from pathlib import Path

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    FineGrainedFP8Config,
    Mxfp4Config,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
)

from workers.contract.errors import InputError, Problem
from workers.models.reading.files import CONFIG, read_json
from workers.models.reading.tensors import fill, read_tensors

# Those that transformers undoes on any machine, without another package.
UNDONE = {"fp8": FineGrainedFP8Config, "mxfp4": Mxfp4Config}
SENSES = ("vision", "audio", "image", "speech")
DECODERS = "give a decoder-only language model"


def read_config(place: Path) -> PreTrainedConfig:
    """The configuration of a model that can be a base.

    Raises:
        InputError: transformers does not know it without running its code, or it is another kind of model.
    """
    raw = read_json(place / CONFIG)
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        if "auto_map" in raw:
            what = f"transformers can't read {place} without running its code (model_type {kind})"
            raise InputError(Problem("bases", what, "choose a model that transformers knows"))
        what = f"{place / CONFIG} has the model_type {kind}, which the installed transformers does not know"
        raise InputError(Problem("bases", what, "choose a model that it knows, or install a later one"))
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(place, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001 - each configuration validates itself, with errors of its own
        what = f"{place / CONFIG} is no configuration of {kind} ({type(error).__name__})"
        raise InputError(Problem("bases", what, "give the config.json that was saved with the model")) from None
    if problem := _unfit(config, place):
        raise InputError(problem)
    return config


def read_decoder(place: Path, config: PreTrainedConfig) -> PreTrainedModel:
    """The language model in a folder, in the precision of its files.

    Raises:
        InputError: Not all of its tensors were read.
    """
    settings: dict[str, object] = {"dtype": "auto", "use_safetensors": True}
    if method := _quantisation(config):
        settings["quantization_config"] = UNDONE[method](dequantize=True)
    try:
        if not _is_multimodal(config):
            return read_tensors(AutoModelForCausalLM.from_pretrained, place, settings)
        is_known = type(config) in MODEL_FOR_MULTIMODAL_LM_MAPPING
        auto = AutoModelForMultimodalLM if is_known else AutoModelForCausalLM
        whole = read_tensors(auto.from_pretrained, place, settings)
        return text_decoder(whole, where=place)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, AttributeError, TypeError) as error:
        what = f"transformers can't read {place} as a {config.model_type} model ({type(error).__name__})"
        raise InputError(Problem("bases", what, "choose a model that it reads, or save this one again")) from None


def text_decoder(whole: PreTrainedModel, *, where: Path) -> PreTrainedModel:
    """The language model inside a multimodal one, as a model of its own with the same weights.

    Raises:
        InputError: Its tensors are not those of the language model alone.
    """
    config = whole.config.get_text_config(decoder=True)
    config.tie_word_embeddings = whole.config.tie_word_embeddings
    if (ends := getattr(whole.config, "eos_token_id", None)) is not None:
        config.eos_token_id = ends
    decoder: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=whole.dtype)
    inner = whole.get_decoder()
    weights = inner.state_dict()
    if type(inner) is not type(decoder):
        weights = {f"{decoder.base_model_prefix}.{name}": value for name, value in weights.items()}
        weights |= {f"lm_head.{name}": value for name, value in whole.get_output_embeddings().state_dict().items()}
    fill(decoder, weights, where=where, remedy="give a model of text alone")
    return decoder.eval()


def _unfit(config: PreTrainedConfig, place: Path) -> Problem | None:
    """Why a known model can't be a base, in one sentence."""
    kind = config.model_type
    if config.is_encoder_decoder:
        return Problem("bases", f"{place} is an encoder-decoder model ({kind})", DECODERS)
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False):
        return Problem("bases", f"{place} is an encoder ({kind}): it fills gaps and does not write", DECODERS)
    if (method := _quantisation(config)) is not None and method not in UNDONE:
        return Problem("bases", f"{place} is quantised ({method})", "give the unquantised model")
    if _is_multimodal(config):
        text = getattr(config, "text_config", None)
        if text is None or type(text) not in MODEL_FOR_CAUSAL_LM_MAPPING or _senses(text):
            what = f"{place} is multimodal ({kind}), and transformers has no language model of its text decoder alone"
            return Problem("bases", what, "give a model of text alone")
    elif type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return Problem("bases", f"{place} is no language model ({kind})", DECODERS)
    return None


def _quantisation(config: PreTrainedConfig) -> str | None:
    """The method's name; None of a model in full precision."""
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return None
    fields = settings if isinstance(settings, dict) else settings.to_dict()
    return str(getattr(method := fields.get("quant_method", "by a method it does not name"), "value", method))


def _is_multimodal(config: PreTrainedConfig) -> bool:
    return "text_config" in config.sub_configs or bool(_senses(config))


def _senses(config: PreTrainedConfig) -> list[str]:
    """Parts of the model that see or hear."""
    return [name for name in config.sub_configs if name.startswith(SENSES)]
