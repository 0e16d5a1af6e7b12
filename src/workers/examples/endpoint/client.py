"""One OpenAI-compatible chat endpoint over HTTP: where records may be sent, retries, and what its failures are called.

Nothing that was sent or came back is logged or raised: status codes and kinds of failure only.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import urllib3
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from workers.contract.errors import InputError, Problem
from workers.contract.system.endpoints import check_place
from workers.contract.trial import EndpointPlace
from workers.examples.endpoint.wording import RESPONSE_FORMAT

# Worth another try: the server is busy, starts, or is behind a gateway that lost it.
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
# 3 retries wait 0, 2 and 4 pauses; one after a time-out, since that has already cost `timeout_s`.
N_RETRIES, N_RETRIES_AFTER_TIMEOUT, PAUSE_S = 3, 1, 1.0
LONGEST_RETRY_AFTER_S = 300
CONNECT_TIMEOUT_S = 10.0
# No other request would fare better: what is missing is a key, a right, a payment or the right address.
REDIRECTS = range(300, 400)
HOPELESS = frozenset({401, 402, 403, 404, 405, *REDIRECTS})
UNSUPPORTED = frozenset({400, 422})
SPENT = "used up max_tokens before it answered"
REFUSED = "the model refused"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer; `ends` says what it is the end of: this answer alone, this request, or all of them."""

    kind: str
    ends: Literal["answer", "request", "run"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said; tokens are 0 where the server doesn't count them."""

    content: str
    is_cut: bool
    prompt_tokens: int
    completion_tokens: int
    is_schema_enforced: bool


class _Part(BaseModel):
    type: str = "text"
    text: str = ""


class _Message(BaseModel):
    content: str | list[_Part] | None = None
    refusal: str | None = None

    @property
    def said(self) -> str | None:
        """Its text, whole or in parts; what it thought stands in parts of another type."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content if part.type == "text")
        return self.content


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


# Some servers write null for what they did not count.
_Counted = Annotated[int, BeforeValidator(lambda count: 0 if count is None else count)]


class _Usage(BaseModel):
    prompt_tokens: _Counted = 0
    completion_tokens: _Counted = 0


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class EndpointClient:
    """Asks one endpoint; safe for `n_connections` threads."""

    def __init__(self, place: EndpointPlace, *, n_connections: int, pause_s: float = PAUSE_S) -> None:
        """Check where it listens and that its key is there; nothing is sent.

        Args:
            pause_s: Between retries, doubled each time; a server's Retry-After goes before it.

        Raises:
            InputError: The host is not this machine and `allow_remote` is not set, or the key is missing.
        """
        check_place(place)
        self._url = f"{place.base_url.rstrip('/')}/chat/completions"
        key = _api_key(place)
        retries = urllib3.Retry(
            total=N_RETRIES,
            read=N_RETRIES_AFTER_TIMEOUT,
            allowed_methods={"POST"},
            status_forcelist=RETRIED,
            backoff_factor=pause_s,
            raise_on_status=False,
            retry_after_max=LONGEST_RETRY_AFTER_S,
        )
        # A pool manager reads no proxy from the environment: what is for this machine stays on it.
        self._pools = urllib3.PoolManager(
            maxsize=n_connections,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            retries=retries,
            timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, place.timeout_s), read=place.timeout_s),
        )
        self._enforces_schema = True

    def close(self) -> None:
        """Close all connections."""
        self._pools.clear()

    def ask(self, request: Mapping[str, object]) -> Reply | Failure:
        """Post one chat request, with the JSON schema until the server refuses it once and does without."""
        enforces = self._enforces_schema
        response = self._post({**request, "response_format": RESPONSE_FORMAT} if enforces else request)
        if enforces and isinstance(response, urllib3.BaseHTTPResponse) and response.status in UNSUPPORTED:
            enforces = False
            response = self._post(request)
            if isinstance(response, urllib3.BaseHTTPResponse) and response.status == 200:
                self._enforces_schema = False
        if isinstance(response, Failure):
            return response
        if response.status != 200:
            return Failure(f"HTTP {response.status}", "run" if response.status in HOPELESS else "request")
        return read_reply(response.data, is_schema_enforced=enforces)

    def _post(self, request: Mapping[str, object]) -> urllib3.BaseHTTPResponse | Failure:
        try:
            return self._pools.request("POST", self._url, json=request, redirect=False)
        except urllib3.exceptions.MaxRetryError as error:
            is_late = isinstance(error.reason, urllib3.exceptions.TimeoutError)
            refused = isinstance(error.reason, urllib3.exceptions.NewConnectionError)
            return Failure("timed out" if is_late and not refused else "no connection", "request")
        except urllib3.exceptions.HTTPError as error:
            return Failure(type(error).__name__, "request")


def _api_key(place: EndpointPlace) -> str | None:
    """The key from the environment; null where the place names no variable."""
    name = place.api_key_variable
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    # A line break inside would reach an exception's text, with the key.
    if not key or not key.isascii() or not key.isprintable():
        what = f"environment variable {name} holds no usable key"
        raise InputError(Problem("endpoint.api_key_variable", what, "set it where the worker runs"))
    return key


def read_reply(body: bytes, *, is_schema_enforced: bool) -> Reply | Failure:
    """What a server said, or why it is no answer."""
    try:
        completion = _Completion.model_validate_json(body)
    except ValidationError:
        return Failure("no chat completion", "answer")
    choice, usage = completion.choices[0], completion.usage or _Usage()
    said = choice.message.said
    if choice.finish_reason == "content_filter" or (choice.message.refusal and not said):
        return Failure(REFUSED, "answer")
    if not said:  # a model that thinks apart has come to no answer
        return Failure(SPENT if choice.finish_reason == "length" else "no chat completion", "answer")
    return Reply(
        content=said,
        is_cut=choice.finish_reason == "length",
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        is_schema_enforced=is_schema_enforced,
    )
