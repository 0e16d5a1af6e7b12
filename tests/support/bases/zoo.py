"""Small models of any architecture that transformers knows, and whether each proves itself as a base.

Fresh weights are so small that a model hardly looks at what came before; at a standard deviation of 0.3 it does, and a
row that looks where it should not gets another score.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from support.bases.zoo_settings import COMPRESSED, LEFT_OUT, RULES, SPECIAL
from workers.contract.answers.proof import BaseProof, RowsTogether
from workers.contract.errors import InputError
from workers.contract.recipes.bases import FolderBase
from workers.contract.system.sources import digest_of_place
from workers.examples.tokenizing.tokens import answer_tokens
from workers.models.base import load, materialise
from workers.preparing.company import IMPOSSIBLE, RECORD, disturbance
from workers.preparing.proof import prove
from workers.scoring.labels import read_labels
from workers.scoring.openers import opener_of

ARCHITECTURES = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Shown:
    """What one architecture came to.

    proof: Null where it was refused or left out.
    words: The refusal, or the reason why it was left out.
    cached: Largest difference of P(yes) alone and together on one cache, proven or not; null where none can be kept.
    spread: Of P(yes) over different prompts: near 0, agreement would show nothing.
    """

    kind: str
    proof: BaseProof | None = None
    words: str = ""
    cached: float | None = None
    spread: float = 0.0

    @property
    def row(self) -> str:
        """A line of the table, in Markdown."""
        if self.proof is None:
            return f"| {self.kind} | – | – | {self.words.removeprefix('bases: ')} |"
        now = self.proof.tried[self.proof.together].largest
        before = "no such way" if self.cached is None else f"{self.cached:.1g}"
        return f"| {self.kind} | {self.proof.together} | {before} | {now:.1g} |"


def reason_left_out(kind: str) -> str:
    """Why an entry of the registry is not tried; empty where it is."""
    found: type[PreTrainedConfig] = CONFIG_MAPPING[kind]
    if getattr(found, "is_encoder_decoder", False):
        return "left out: the decoder of an encoder-decoder model"
    if kind not in LEFT_OUT and "text_config" in found.sub_configs and f"{kind}_text" in ARCHITECTURES:
        return f"left out: multimodal; its text decoder is {kind}_text"
    return f"left out: {LEFT_OUT[kind]}" if kind in LEFT_OUT else ""


def small_config(kind: str, tokenizer: PreTrainedTokenizerBase, **more: object) -> PreTrainedConfig:
    """A configuration of two narrow layers.

    Args:
        more: Settings over those by rule and those of this architecture alone.
    """
    found: type[PreTrainedConfig] = CONFIG_MAPPING[kind]
    names = {field.name for field in fields(found)} | set(found.attribute_map)
    ends = {name: tokenizer.eos_token_id for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    rules = {**RULES, **(COMPRESSED if "kv_lora_rank" in names else {}), "vocab_size": len(tokenizer), **ends}
    settings = {name: value for name, value in rules.items() if name in names}
    return found(**{**settings, **SPECIAL.get(kind, {}), **more})


def small_model(config: PreTrainedConfig, *, seed: int = 0) -> PreTrainedModel:
    """A model with large random weights, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    return model.eval().requires_grad_(False)


def prove_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, place: Path) -> BaseProof:
    """Save a model as people do, take it over as a store does, and let it prove itself; the base stays in `place`.

    Raises:
        InputError: It can't be a base.
    """
    saved, base = place / "saved", place / "base"
    base.mkdir(parents=True)
    model.save_pretrained(saved)
    tokenizer.save_pretrained(saved)
    recipe = FolderBase(kind="folder", sha256=digest_of_place(saved), reading="text")
    materialise(recipe, base, sources={recipe.sha256: str(saved)})
    return prove(base, recipe, precision="float32")


def show(kind: str, tokenizer: PreTrainedTokenizerBase, place: Path) -> Shown:
    """Build, prove and compare one architecture of the registry; anything but a proof or an InputError is raised."""
    if reason := reason_left_out(kind):
        return Shown(kind, words=reason)
    try:
        proof = prove_model(small_model(small_config(kind, tokenizer)), tokenizer, place)
    except InputError as refusal:
        return Shown(kind, words=str(refusal).replace(str(place / "saved"), kind))
    model = load(place / "base", precision="float32", device=CPU).model
    answer = answer_tokens(tokenizer)
    try:
        cached = disturbance(model, tokenizer, answer, RowsTogether.CACHED).largest
    except IMPOSSIBLE:
        cached = None
    tokens = tokenizer(RECORD, add_special_tokens=False)["input_ids"]
    prompts = [tokens[: len(tokens) * part // 4] for part in (1, 2, 3, 4)]
    with torch.inference_mode():
        opener = opener_of(model, pad_token=answer.end, together=RowsTogether.ALONE)
        read = read_labels(opener.begin(prompts, prefix=()), [answer.opening] * len(prompts), answer)
    return Shown(kind, proof, cached=cached, spread=float(np.ptp(read.p_yes)))
