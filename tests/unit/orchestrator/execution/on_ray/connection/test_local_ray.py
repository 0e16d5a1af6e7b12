"""Where a Ray of our own keeps its session, and the token that it gets."""

import os
from pathlib import Path

import pytest

from orchestrator.execution.on_ray.connection.local_ray import LONGEST_FOLDER, SOCKET, own_token, session_folder, unfit
from workers.contract.errors import ClusterError

LONG = Path("/tmp") / ("x" * 110)


def test_the_folder_is_where_tmpdir_points(tmp_path: Path) -> None:
    short = "/dev/shm"
    assert session_folder({"TMPDIR": short}).place == Path(short)
    assert session_folder({}).place == session_folder({"TMPDIR": "", "RAY_TMPDIR": ""}).place == Path("/tmp")
    assert session_folder({"TMPDIR": str(tmp_path), "RAY_TMPDIR": short}).place == Path(short)


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        (LONG, "is too long for the sockets of Ray"),
        (Path("/proc/version"), "is no folder"),
        (Path("/proc"), "can't be written"),
        (Path("/tmp/é"), "has a name that is not ASCII"),
    ],
)
def test_one_that_will_not_do_is_passed_over_and_a_chosen_one_is_refused(folder: Path, why: str) -> None:
    found = session_folder({"TMPDIR": str(folder)})
    assert found.place == Path("/tmp") and why in found.passed_over
    with pytest.raises(ClusterError, match=f"RAY_TMPDIR: .*{why}"):
        session_folder({"RAY_TMPDIR": str(folder)})


def test_the_longest_folder_that_passes_holds_the_longest_socket() -> None:
    longest = "x" * LONGEST_FOLDER
    assert len(os.fsencode(Path(longest) / SOCKET)) == 107
    assert "too long" not in unfit(Path(longest))
    assert "too long" in unfit(Path(f"{longest}x"))


def test_bytes_count_and_not_characters() -> None:
    assert session_folder({"TMPDIR": "/tmp/" + "é" * (LONGEST_FOLDER - len("/tmp/"))}).passed_over


@pytest.mark.parametrize(
    "exported",
    [
        {},
        {"RAY_AUTH_MODE": "disabled"},
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/no/such/token"},
        {"RAY_AUTH_TOKEN": "that of a cluster"},
    ],
)
def test_a_ray_of_our_own_has_a_token_of_its_own_whatever_is_exported_for_a_clusters(
    exported: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("RAY_AUTH_")]:
        monkeypatch.delenv(name)
    for name, value in exported.items():
        monkeypatch.setenv(name, value)
    with own_token():
        assert {name for name in os.environ if name.startswith("RAY_AUTH_")} == {"RAY_AUTH_TOKEN"}
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
        os.environ["RAY_AUTH_MODE"] = "token"  # as Ray does
    assert {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH_")} == exported
