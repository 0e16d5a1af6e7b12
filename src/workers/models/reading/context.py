"""How many tokens a base can hold, under any of the names by which architectures state it."""

from transformers import PreTrainedConfig

# transformers maps most of them to the first name; the others are MPT's, BLOOM's, Whisper's kind and RWKV's.
NAMES = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "n_ctx",
    "max_sequence_length",
    "context_length",
)
# State-space and ALiBi models state none and can read on for ever; the number stays a count, beyond every record.
UNBOUNDED = 2**20


def stated_context(config: PreTrainedConfig) -> int:
    """Prompt and answer together, as the configuration states it; `UNBOUNDED` where it states nothing.

    A rope that was scaled when the model was made (longrope, yarn) is in the number. One that was scaled by hand,
    without raising the number, counts by the number: no base is taken further than its files say.
    """
    text = config.get_text_config(decoder=True)
    stated = (getattr(text, name, None) for name in NAMES)
    return next((int(count) for count in stated if isinstance(count, int) and count > 0), UNBOUNDED)
