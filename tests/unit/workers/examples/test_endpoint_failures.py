"""A chat endpoint that fails, or that may not be asked: one clear error, and never a word of a record."""

import json
import logging
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest

from support.launches.servers import Asked, Behaviour, Replied, answer, completion, serving
from support.launches.teaching import CANARY, GROUNDED, TaughtStudy, always, taught_study
from workers.contract.errors import InputError
from workers.contract.system.endpoints import check_place
from workers.contract.trial import EndpointPlace

KEY_VARIABLE, KEY = "SWEEP_TEST_KEY", "key-xw91"


@pytest.fixture
def study(tmp_path: Path) -> TaughtStudy:
    return taught_study(tmp_path / "store")


@pytest.fixture
def logged() -> Iterator[StringIO]:
    """Whatever is logged, to the last detail."""
    root, text = logging.getLogger(), StringIO()
    level, handler = root.level, logging.StreamHandler(text)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (always(Replied(401)), "HTTP 401: 1"),
        (always(Replied(302, headers={"Location": "/v1/elsewhere"})), "HTTP 302: 1"),
        (always(Replied(500)), "HTTP 500: 2"),
        (always(completion("{")), "broken JSON: 2"),
        (always(completion("{", finish_reason="length")), "cut at max_tokens: 2"),
        (always(completion(None, finish_reason="length")), "used up max_tokens before it answered: 2"),
        (always(completion("", finish_reason="length")), "used up max_tokens before it answered: 2"),
        (always(completion(None)), "no chat completion: 2"),
        (always(completion(None, refusal="I can't help with that")), "the model refused: 2"),
        (always(completion(None, finish_reason="content_filter")), "the model refused: 2"),
    ],
)
def test_an_endpoint_that_fails_is_one_error_with_counts(study: TaughtStudy, behaviour: Behaviour, said: str) -> None:
    with serving(behaviour) as server, pytest.raises(InputError) as caught:
        study.write(server.base_url)
    (problem,) = caught.value.problems
    assert problem.where == "endpoint.base_url"
    assert said in problem.what
    assert all(asked.path == "/v1/chat/completions" for asked in server.asked)


def test_an_endpoint_that_hangs_is_one_error(study: TaughtStudy) -> None:
    with serving(always(Replied(hangs=True))) as server, pytest.raises(InputError, match="timed out: 2"):
        study.write(server.base_url, {"timeout_s": 0.2})


def test_a_refused_connection_is_one_error(study: TaughtStudy) -> None:
    with serving(always(answer(GROUNDED))) as server:
        base_url = server.base_url
    with pytest.raises(InputError, match="no connection: 2"):
        study.write(base_url)


@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]", "0.0.0.0", "127.0.0.1.nip.invalid"])
def test_records_are_not_sent_to_another_machine_unasked(study: TaughtStudy, host: str) -> None:
    with pytest.raises(InputError, match="is not this machine"):
        study.write(f"http://{host}:8000/v1")
    check_place(EndpointPlace(base_url=f"http://{host}:8000/v1", allow_remote=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "[::1]", "localhost"])
def test_this_machine_is_asked(host: str) -> None:
    check_place(EndpointPlace(base_url=f"http://{host}:8000/v1"))


def test_an_address_without_a_host_is_refused() -> None:
    with pytest.raises(InputError, match="names no host"):
        check_place(EndpointPlace(base_url="http://:8000/v1"))


def test_the_key_comes_from_the_environment(study: TaughtStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with serving(always(answer(GROUNDED))) as server:
        study.write(server.base_url, {"api_key_variable": KEY_VARIABLE})
        assert {asked.headers["Authorization"] for asked in server.asked} == {f"Bearer {KEY}"}


@pytest.mark.parametrize("value", [None, " ", f"{KEY}\n{KEY}"])
def test_a_key_that_is_missing_or_unusable_is_an_error_before_anything_is_sent(
    study: TaughtStudy, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(KEY_VARIABLE, value)
    with serving(always(answer(GROUNDED))) as server, pytest.raises(InputError, match=KEY_VARIABLE) as caught:
        study.write(server.base_url, {"api_key_variable": KEY_VARIABLE})
    assert KEY not in str(caught.value)
    assert not server.asked


@pytest.mark.parametrize(
    "behaviour",
    [
        lambda asked: Replied(400, body=asked.user_text),
        lambda asked: Replied(500, body=asked.user_text),
        lambda asked: completion(asked.user_text),
        lambda asked: completion(json.dumps({"evidence": asked.user_text, "reasoning": 1, "answer": asked.user_text})),
        lambda asked: Replied(hangs=True),
    ],
)
def test_nothing_that_was_sent_or_came_back_is_logged_or_raised(
    study: TaughtStudy,
    behaviour: Callable[[Asked], Replied],
    logged: StringIO,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    place: dict[str, object] = {"api_key_variable": KEY_VARIABLE, "timeout_s": 0.2}
    with serving(behaviour) as server, pytest.raises(InputError) as caught:
        study.write(server.base_url, place)
    assert server.asked
    assert CANARY in server.asked[0].user_text
    output = capfd.readouterr()
    error = caught.value
    assert "127.0.0.1" in logged.getvalue()
    for text in (str(error), repr(error.__cause__), repr(error.__context__), logged.getvalue(), *output):
        assert CANARY not in text
        assert KEY not in text
