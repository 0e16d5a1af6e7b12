"""The grain of an id: frozen recipes and their digest.

A field equal to its default is left out of the hash, so a new defaulted field changes no id; therefore a default, once
released, is never changed.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self, Union

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema


def _in_the_calendar(text: str) -> str:
    if not ISO_TIME.fullmatch(text):
        raise ValueError(f"{text!r} is no ISO date; write YYYY-MM-DD or YYYY-MM-DDThh:mm:ss")
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text} is in no calendar; mend it") from None
    return text


ISO_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?", re.ASCII)
# A day, with or without the time of it, that was or will be.
Moment = Annotated[str, AfterValidator(_in_the_calendar)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256, 64 lower-case hex digits")]


class Frozen(BaseModel):
    """What is read once and never changed; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with changes. Pydantic copies cached properties too, which a change would make untrue."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


class Recipe(Frozen):
    """A frozen part of a trial's content."""

    def digest(self) -> str:
        """Hash of the content, 16 hex digits, the same on every machine and Python version."""
        return digest_of(self.content())

    def content(self) -> dict[str, object]:
        """What is hashed: every field that is not at its default, as JSON values."""
        return self.model_dump(mode="json", exclude_defaults=True)


@dataclass(frozen=True)
class OneOf:
    """Annotates a field that holds one of a table's models, told apart by their field `tag`.

    The table is asked when a model with such a field is defined; to a type checker they are what they have in common.
    """

    models: Callable[[], Iterable[type[BaseModel]]]
    tag: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """That of a union with a discriminator."""
        return handler.generate_schema(Annotated[Union[*self.models()], Field(discriminator=self.tag)])


def digest_of(content: Mapping[str, object]) -> str:
    """SHA-256 of canonical JSON (sorted keys, no white space), first 16 hex digits (64 bits)."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def flattened(nested: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """What is in mappings within mappings, by dotted names."""
    flat: dict[str, object] = {}
    for name, value in nested.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
