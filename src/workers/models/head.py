"""A classification head on a decoder under an adapter: one logit from the last prompt token, no generation."""

from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import save_file

HEAD_WEIGHTS = "head.safetensors"
# As transformers starts its own sequence-classification heads (`initializer_range`).
INITIAL_DEVIATION = 0.02


class HeadedModel(torch.nn.Module):
    """The decoder of a causal model, its adapter included, and a linear head; the output layer is not used."""

    def __init__(self, model: PeftModel, *, seed: int) -> None:
        super().__init__()
        causal = model.get_base_model()
        embedding = causal.get_input_embeddings().weight
        self.decoder = causal.get_decoder()
        self.head = torch.nn.Linear(causal.config.get_text_config().hidden_size, 1)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.head.weight.normal_(std=INITIAL_DEVIATION, generator=generator)
            self.head.bias.zero_()
        self.head.to(device=embedding.device, dtype=embedding.dtype)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor
    ) -> torch.Tensor:
        """Log odds of yes from left-padded prompts of shape (n_prompts, longest), shape (n_prompts,), float32."""
        hidden = self.decoder(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
        ).last_hidden_state
        logits: torch.Tensor = self.head(hidden[:, -1])
        return logits[:, 0].float()


def save_head(model: HeadedModel, folder: Path) -> None:
    """Write the head's weight and bias beside its adapter."""
    weights = {name: value.detach().contiguous().cpu() for name, value in model.head.state_dict().items()}
    save_file(weights, folder / HEAD_WEIGHTS)
