"""Hand-made tokenizers of the kinds that people bring, trained in milliseconds on a few lines; and chat templates."""

from collections.abc import Sequence

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

LINES = [
    "Woman of 60. Smokes 20 a day. Overall the risk is high.",
    "Answer: yes",
    "Answer: no",
    "Answer: Yes",
    "Answer: No",
    "yes no Yes No user assistant think",
    "Man of 50, low pressure. The risk is low.\n\nAnswer:",
] * 20

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN3 = CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}",
)
R1 = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
WITHOUT_GENERATION_PROMPT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
NO_SYSTEM_TURN = "{% if messages[0].role == 'system' %}{{ raise_exception('No system turn') }}{% endif %}" + CHATML
NO_LONE_USER = "{% if messages|length < 2 %}{{ raise_exception('Begin with a system turn') }}{% endif %}" + CHATML
IN_PARTS = CHATML.replace(
    "{{ m.content }}", "{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def byte_level(
    *, eos: str | None = "<|endoftext|>", special: Sequence[str] = (), added: Sequence[str] = (), template: str = ""
) -> PreTrainedTokenizerFast:
    """As Qwen and Llama 3 are built; `added` are tokens that are not declared special."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return _trained(core, ["<|endoftext|>", *special], added, template=template, eos=eos)


def metaspace(scheme: str, *, special: Sequence[str] = (), template: str = "") -> PreTrainedTokenizerFast:
    """As Llama 2 and Mistral are built: spaces are letters, and `scheme` says where one is put before a text."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Metaspace(prepend_scheme=scheme)]
        if scheme != "always"
        else [pre_tokenizers.Metaspace(prepend_scheme=scheme), pre_tokenizers.Split("\n", "isolated")]
    )
    core.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return _trained(core, ["<s>", "</s>", *special], (), template=template, eos="</s>", bos="<s>")


def llama_like() -> PreTrainedTokenizerFast:
    """Metaspace everywhere, and a post-processor that begins every text with <s>."""
    return _begun_by(metaspace("always"), "<s>")


def llama3_like() -> PreTrainedTokenizerFast:
    """The beginning comes twice over: from the post-processor and from the template."""
    names = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer = byte_level(special=names, template=LLAMA3)
    tokenizer.bos_token = "<|begin_of_text|>"
    return _begun_by(tokenizer, "<|begin_of_text|>")


def gemma_like() -> PreTrainedTokenizerFast:
    """A beginning of its own, turns that end in <end_of_turn>, while <eos> ends a document."""
    tokenizer = byte_level(special=["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"], template=GEMMA)
    tokenizer.bos_token, tokenizer.eos_token = "<bos>", "<eos>"
    return _begun_by(tokenizer, "<bos>")


def thinking(template: str) -> PreTrainedTokenizerFast:
    """As Qwen 3 and its distillations: <think> is an added token, and none of the special ones."""
    return byte_level(special=["<|im_start|>", "<|im_end|>"], added=["<think>", "</think>"], template=template)


def chatml(template: str = CHATML) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with turns."""
    return byte_level(special=["<|im_start|>", "<|im_end|>"], template=template)


def word_piece() -> PreTrainedTokenizerFast:
    """As BERT's: lower case, and neither spaces nor line breaks are kept."""
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=["[UNK]", "[SEP]"], show_progress=False)
    core.train_from_iterator(LINES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="[SEP]", unk_token="[UNK]")


def by_bytes() -> PreTrainedTokenizerFast:
    """One token a byte: every label word takes several."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=257,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    core.train_from_iterator(LINES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|endoftext|>")


def _trained(
    core: Tokenizer,
    special: Sequence[str],
    added: Sequence[str],
    *,
    template: str,
    eos: str | None,
    bos: str | None = None,
) -> PreTrainedTokenizerFast:
    alphabet = [*pre_tokenizers.ByteLevel.alphabet(), "▁", "\n"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, special_tokens=list(special), show_progress=False
    )
    core.train_from_iterator(LINES, trainer)
    core.add_tokens([AddedToken(text, special=False, normalized=False) for text in added])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=eos, bos_token=bos, chat_template=template or None)


def _begun_by(tokenizer: PreTrainedTokenizerFast, token: str) -> PreTrainedTokenizerFast:
    number = int(tokenizer.convert_tokens_to_ids(token))
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", special_tokens=[(token, number)]
    )
    return tokenizer
