"""How the address of a cluster's head is written, and what is known of its token before it is asked."""

from pathlib import Path

import pytest

from orchestrator.execution.on_ray.connection.head import head_address, knock, unusable_token
from orchestrator.execution.on_ray.executor import RayTune
from support.hosts.heads import free_port
from workers.contract.errors import ClusterError, InputError

TOKEN = {"RAY_AUTH_MODE": "token"}


@pytest.mark.parametrize("text", ["auto", "10.0.0.1:6379", "head.example.org:1", "[::1]:65535", "HEAD-1:6379"])
def test_an_address_is_that_of_a_head_or_auto(text: str) -> None:
    assert head_address(text) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no HOST:PORT"),
        ("local", "is no HOST:PORT"),
        ("10.0.0.1", "is no HOST:PORT"),
        (":6379", "is no HOST:PORT"),
        ("10.0.0.1:", "is no HOST:PORT"),
        ("10.0.0.1:0", "port is 1 to 65535"),
        ("10.0.0.1:99999", "port is 1 to 65535"),
        ("10.0.0.1:6379/x", "is no HOST:PORT"),
        ("he ad:6379", "is no HOST:PORT"),
        ("head..x:6379", "is no HOST:PORT"),
        ("h" * 300 + ":6379", "is no HOST:PORT"),
        ("http://10.0.0.1:8265", "of a dashboard, which takes a launch with --detach alone"),
        ("https://10.0.0.1", "of a dashboard, which takes a launch with --detach alone"),
        ("ray://10.0.0.1:10001", "of a server of Ray Client"),
        ("redis://10.0.0.1:6379", "of something else than Ray"),
    ],
)
def test_another_form_is_refused_with_what_it_is_before_anything_is_opened(text: str, why: str) -> None:
    with pytest.raises(InputError, match=f"--address: .*{why}.*; write the HOST:PORT"):
        RayTune(text, tell=print)


@pytest.mark.parametrize("text", ["me:secret@10.0.0.1:6379", "http://me:secret@10.0.0.1:8265", "10.0.0.1:1?secret"])
def test_a_password_in_an_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InputError, match="holds more than a host and its port") as caught:
        head_address(text)
    assert "secret" not in str(caught.value)


def test_where_nothing_listens_that_is_said_at_once() -> None:
    with pytest.raises(ClusterError, match=r"--address 127\.0\.0\.1:\d+: nothing listens there \(Connection refused\)"):
        knock(f"127.0.0.1:{free_port()}")


def test_a_token_that_can_not_be_shown_is_said_before_the_head_is_asked(tmp_path: Path) -> None:
    empty, full, binary = tmp_path / "empty", tmp_path / "full", tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    empty.write_text("\n")
    full.write_text("secret")
    assert unusable_token({}) == unusable_token({"RAY_AUTH_MODE": "Disabled", "RAY_AUTH_TOKEN_PATH": "/nowhere"}) == ""
    assert "'tokn' is no mode of Ray" in unusable_token({"RAY_AUTH_MODE": "tokn"})
    assert "/nowhere can't be read (No such file" in unusable_token({**TOKEN, "RAY_AUTH_TOKEN_PATH": "/nowhere"})
    assert f"{tmp_path} can't be read (Is a directory" in unusable_token(
        {**TOKEN, "RAY_AUTH_TOKEN_PATH": str(tmp_path)}
    )
    assert f"{binary} holds no token" in unusable_token({**TOKEN, "RAY_AUTH_TOKEN_PATH": str(binary)})
    assert f"{empty} is empty" in unusable_token({**TOKEN, "RAY_AUTH_TOKEN_PATH": str(empty)})
    assert unusable_token({**TOKEN, "RAY_AUTH_TOKEN_PATH": str(full)}) == ""
    assert unusable_token({**TOKEN, "RAY_AUTH_TOKEN_PATH": "/nowhere", "RAY_AUTH_TOKEN": "secret"}) == ""


def test_where_ray_keeps_its_token_by_itself_that_one_counts(tmp_path: Path) -> None:
    environ = {**TOKEN, "HOME": str(tmp_path)}
    assert "there is none; export RAY_AUTH_TOKEN_PATH" in unusable_token(environ)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    assert unusable_token(environ) == ""


@pytest.mark.parametrize(
    ("exported", "said"),
    [
        ("head", "--address auto: RAY_ADDRESS: 'head' is no HOST:PORT"),
        ("127.0.0.1:1", r"--address auto \(.*:1\): nothing listens"),
    ],
)
def test_auto_tells_what_it_came_to(exported: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", exported)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(ClusterError, match=said):
        knock("auto")
