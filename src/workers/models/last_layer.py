"""The last layer at those positions alone that the output layer reads: nothing else of what it gives is looked at.

It is called twice. First on all positions, up to where attention hands its keys and values to a cache; then on the read
positions, which attend over them. So no architecture is written down here, and one without such a cache stays as it is.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

# What a layer is told of each position, and which axis of it the positions lie on.
AXES = {"attention_mask": -2, "position_ids": -1, "position_embeddings": -2, "cache_position": -1}
# Above this share of the positions the second call costs what the first one spares.
MOST_READ = 0.75
KINDS_OF_ATTENTION = frozenset({"full_attention", "sliding_attention", "chunked_attention"})
N_AXES_OF_STATES = 3

KeysAndValues = tuple[torch.Tensor, torch.Tensor]
Told = torch.Tensor | tuple[torch.Tensor, ...]


class _Cache(Protocol):
    """What attention asks of a cache: keep these, and give those of all positions so far."""

    def update(self, keys: torch.Tensor, values: torch.Tensor, *more: object, **and_more: object) -> KeysAndValues: ...


class _Handed(Exception):
    """Keys and values are there: the first call is over."""


class _AskedMore(Exception):
    """An attention wants to know more of its cache, such as how long it is."""


class _Taking:
    """Stands for a cache in the first call."""

    def __init__(self, cache: _Cache | None) -> None:
        self._cache = cache
        self.found: KeysAndValues = (torch.empty(0), torch.empty(0))

    def update(self, keys: torch.Tensor, values: torch.Tensor, *more: object, **and_more: object) -> KeysAndValues:
        self.found = (keys, values) if self._cache is None else self._cache.update(keys, values, *more, **and_more)
        raise _Handed

    def __getattr__(self, _: str) -> object:
        raise _AskedMore


@dataclass(frozen=True)
class _Giving:
    """Stands for a cache in the second call, which has all keys and values already."""

    found: KeysAndValues

    def update(self, *_: object, **__: object) -> KeysAndValues:
        return self.found


@contextmanager
def computed_where_read(model: torch.nn.Module) -> Iterator[None]:
    """Have the last layer computed where a call with `logits_to_keep` reads it; other calls, and models, as ever.

    Not for weights that no process holds whole: DeepSpeed would wait for the end of the first call.
    """
    whole = next(part for part in model.modules() if isinstance(part, PreTrainedModel))
    layer = _last_layer(whole)
    if layer is None or "forward" in vars(layer):  # no such layer, or computed in a way of its own already
        yield
        return
    late = _Late(layer)
    hooks = [
        whole.register_forward_pre_hook(late.begin, with_kwargs=True),
        whole.register_forward_hook(late.end, always_call=True),
    ]
    vars(layer)["forward"] = late
    try:
        yield
    finally:
        del vars(layer)["forward"]
        for hook in hooks:
            hook.remove()


class _Late:
    """The forward pass of a last layer, during a call of its model; `begin` and `end` hear of that."""

    def __init__(self, layer: GradientCheckpointingLayer) -> None:
        self._layer = layer
        self._in_full: Callable[..., object] = layer.forward
        self._n_read = 0

    def begin(self, _: object, __: object, told: Mapping[str, object]) -> None:
        asked = told.get("logits_to_keep")
        self._n_read = asked if isinstance(asked, int) else 0

    def end(self, *_: object) -> None:
        self._n_read = 0

    def __call__(self, hidden_states: torch.Tensor, *args: object, **told: object) -> object:
        n_all, n_read, by_position = hidden_states.shape[1], self._n_read, _by_position(told)
        is_read_in_part = hidden_states.dim() == N_AXES_OF_STATES and 0 < n_read <= MOST_READ * n_all
        is_computed_again = self._layer.training and self._layer.gradient_checkpointing  # when nobody says what is read
        if not is_read_in_part or is_computed_again or args or not _cover(by_position, n_all):
            return self._in_full(hidden_states, *args, **told)
        taking = _Taking(told.get("past_key_values"))  # type: ignore[arg-type]
        try:
            return self._in_full(hidden_states, **{**told, "past_key_values": taking})
        except _AskedMore:
            return self._in_full(hidden_states, **told)
        except _Handed:
            pass
        late = {name: _last(value, AXES[name], n_read) for name, value in by_position.items()}
        if "attention_mask" not in late and n_read > 1:
            late["attention_mask"] = _causal(n_read, taking.found[0].shape[-2], hidden_states.device)
        return self._in_full(hidden_states[:, -n_read:], **{**told, **late, "past_key_values": _Giving(taking.found)})


def _last_layer(model: PreTrainedModel) -> GradientCheckpointingLayer | None:
    """The layer whose output goes to the output layer, if one attention of the library's usual kind is all it has."""
    config = model.config.get_text_config()
    last = getattr(config, "num_hidden_layers", 0) - 1
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    is_asked_for_more = getattr(config, "num_kv_shared_layers", 0) or getattr(config, "output_router_logits", False)
    is_plain = config._attn_implementation == "sdpa" and getattr(config, "is_causal", None) is not False
    if is_asked_for_more or not is_plain or kinds[-1] not in KINDS_OF_ATTENTION:
        return None
    layers = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
    found = [one for one in layers if last in _places(one)]
    return found[0] if len(found) == 1 and _places(found[0]) == {last} else None


def _places(layer: torch.nn.Module) -> set[int]:
    """Where in a cache its attentions keep what they compute."""
    return {int(vars(part)["layer_idx"]) for part in layer.modules() if vars(part).get("layer_idx") is not None}


def _by_position(told: Mapping[str, object]) -> dict[str, Told]:
    """All that may go by position: what isn't a plain setting, whether we know it or not."""
    return {
        name: value  # type: ignore[misc]
        for name, value in told.items()
        if name != "past_key_values" and value is not None and not isinstance(value, bool | int | float | str)
    }


def _cover(by_position: Mapping[str, Told], n_all: int) -> bool:
    """Whether each is known, and says something of every position."""
    return all(
        isinstance(part, torch.Tensor)
        and name in AXES
        and part.dim() >= -AXES[name]
        and part.shape[AXES[name]] == n_all
        for name, value in by_position.items()
        for part in (value if isinstance(value, tuple) else (value,))
    )


def _last(value: Told, axis: int, n_read: int) -> Told:
    if isinstance(value, tuple):
        return tuple(part.narrow(axis, part.shape[axis] - n_read, n_read) for part in value)
    return value.narrow(axis, value.shape[axis] - n_read, n_read)


def _causal(n_read: int, n_keys: int, device: torch.device) -> torch.Tensor:
    """True where the last positions may look, shape (1, 1, n_read, n_keys); the library would align them otherwise."""
    return torch.ones(n_read, n_keys, dtype=torch.bool, device=device).tril(n_keys - n_read)[None, None]
