"""A launch that the cluster drives: what is sent, what is refused before, and how it is followed."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchestrator.cli.main import app
from support.launches.dashboard import dashboard
from support.studies.micro_study import write_study
from workers.contract.answers.roll_call import TOLD, code_commit
from workers.contract.errors import ClusterError, ClusterLostError, InputError

NOBODY = "http://127.0.0.1:1"
BEGUN = "micro: 2 trials\nrunning 4 trials on 2 CPU slots\n"


@pytest.fixture(autouse=True)
def _commit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(TOLD, "0123456789ab")
    code_commit.cache_clear()
    yield
    code_commit.cache_clear()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path)


def detach(study: Path, address: str | None, *options: str) -> Result:
    place = [] if address is None else ["--address", address]
    words = ["run", str(study), "--store", str(study.parent / "store"), "--detach", *place, *options]
    return CliRunner().invoke(app, words, catch_exceptions=False)


def attach(job: str, address: str | None) -> Result:
    place = [] if address is None else ["--address", address]
    return CliRunner().invoke(app, ["attach", job, *place], catch_exceptions=False)


def test_a_launch_is_followed_until_nothing_can_refuse_it_and_then_goes_on_by_itself(study: Path) -> None:
    with dashboard(says=BEGUN, status="RUNNING") as there:
        done = detach(study, there.address, "--json", "--only", "seed=1", "--only", "control=age_sex", "--limit", "3")
    facts = json.loads(done.stdout)
    assert (done.exit_code, facts["exit_code"], facts["commit"]) == (0, None, "0123456789ab")
    assert there.submitted["submission_id"] == facts["job"]
    assert there.submitted["metadata"] == {"commit": "0123456789ab"}
    sent = there.submitted["entrypoint"].partition("exec ")[2]
    store = study.parent / "store"
    assert sent == (
        f"python -P -m orchestrator.cli run {study} --store {store} --only seed=1 --only control=age_sex --limit 3 "
        "--address auto"
    )
    assert not list(store.rglob(".tmp-*"))


def test_our_code_goes_along_with_its_commit_and_nothing_else_of_ours(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a secret")
    with dashboard(says=BEGUN) as there:
        assert detach(study, there.address).exit_code == 0
    assert {name.split("/")[0] for name in there.files} == {"orchestrator", "workers"}
    assert not [name for name in there.files if name.endswith(".pyc")]
    assert set(there.submitted["runtime_env"]["env_vars"]) == {TOLD, "RAY_JOB_STOP_WAIT_TIME_S"}
    assert "a secret" not in str(there.submitted) and "ffff" not in str(there.submitted)


def test_a_head_that_does_not_see_the_store_runs_nothing(study: Path) -> None:
    with dashboard(says=BEGUN) as there:
        detach(study, there.address)
    ran = subprocess.run(["sh", "-c", there.submitted["entrypoint"]], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"error: {study.parent / 'store' / 'micro'}: what is written there here is not seen")


def test_a_head_whose_python_lacks_what_sweep_needs_says_that(study: Path, tmp_path: Path) -> None:
    with dashboard(says=BEGUN) as there:
        detach(study, there.address)
    (tmp_path / "python").write_text("#!/bin/sh\nexit 1")
    (tmp_path / "python").chmod(0o700)
    entrypoint = f"test -f {study} || " + there.submitted["entrypoint"].partition("|| ")[2]  # its proof has gone
    poor = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ran = subprocess.run(["sh", "-c", entrypoint], env=poor, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: the head's `python`: it lacks what sweep needs; activate")


def test_what_ray_itself_says_of_a_job_is_not_repeated(study: Path) -> None:
    of_ray = "2026-01-05 09:00:00,123\tINFO job_manager.py:581 -- Runtime env is setting up.\n"
    of_ray += "Running entrypoint for job sweep-x: test -f proof || { echo 'error: no share' >&2; exit 2; }\n"
    with dashboard(says=f"{of_ray}{BEGUN}4/4 done") as there:
        detach(study, there.address)
        assert attach(there.submitted["submission_id"], there.address).stdout == f"{BEGUN}4/4 done"


def test_a_selection_that_names_nothing_is_refused_before_anything_is_sent(study: Path) -> None:
    with dashboard(says=BEGUN) as there, pytest.raises(InputError, match="foo"):
        detach(study, there.address, "--only", "foo=bar")
    assert not there.submitted


def test_a_launch_that_is_refused_there_ends_as_it_would_here(study: Path) -> None:
    with dashboard(says="error: node h2: it does not see the store; mount it\n", code=2, status="FAILED") as there:
        done = detach(study, there.address)
    assert done.exit_code == 2
    assert "node h2" in done.stdout
    assert "goes on" not in done.stdout


@pytest.mark.parametrize(("code", "status", "expected"), [(0, "SUCCEEDED", 0), (5, "FAILED", 5), (None, "STOPPED", 4)])
def test_a_job_is_followed_from_its_beginning_to_its_exit_code(
    study: Path, code: int | None, status: str, expected: int
) -> None:
    with dashboard(says=f"{BEGUN}4/4 done\n", code=code, status=status) as there:
        detach(study, there.address)
        done = attach(there.submitted["submission_id"], there.address)
    assert done.stdout == f"{BEGUN}4/4 done\n"
    assert done.exit_code == expected


def test_a_job_that_ray_ended_is_no_end_of_its_own(study: Path) -> None:
    with dashboard(says=BEGUN, code=None, status="FAILED") as there:
        detach(study, there.address)
        with pytest.raises(ClusterLostError, match=r"Ray ended it \(a fault\)"):
            attach(there.submitted["submission_id"], there.address)


def test_a_dashboard_that_goes_takes_no_launch_with_it_and_that_is_said(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise RuntimeError("Request failed")

    with dashboard(says=BEGUN) as there:
        detach(study, there.address)
        monkeypatch.setattr("ray.job_submission.JobSubmissionClient.get_job_info", gone)
        with pytest.raises(ClusterLostError, match=r"answers no more \(RuntimeError\); the launch goes on without it"):
            attach(there.submitted["submission_id"], there.address)


def test_who_stops_following_ends_nothing_and_is_told_so(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.execution.on_ray.jobs.follow", interrupted)
    done = attach("sweep-x", NOBODY)
    assert (done.exit_code, done.stderr) == (130, "sweep-x goes on without us; `sweep stop STUDY` would end it\n")


def test_a_dashboard_that_says_nothing_is_not_waited_for(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.execution.on_ray.jobs.ANSWERS_WITHIN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for ask in (partial(detach, study), partial(attach, "sweep-x")):
            with pytest.raises(ClusterError, match=r"no dashboard of Ray takes jobs there \(TimeoutError\)"):
                ask(address)


def test_an_unknown_job_is_refused_with_those_that_there_are(study: Path) -> None:
    with dashboard(says=BEGUN) as there:
        detach(study, there.address)
        with pytest.raises(InputError, match=rf"sweep-x: is no job of .*: {there.submitted['submission_id']}"):
            attach("sweep-x", there.address)


def test_changes_that_no_commit_holds_are_sent_where_that_is_told_alone(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOLD, "0123456789ab-dirty")
    code_commit.cache_clear()
    with dashboard(says=BEGUN) as there:
        with pytest.raises(InputError, match="0123456789ab-dirty has changes that no commit holds"):
            detach(study, there.address)
        assert not there.submitted
        assert detach(study, there.address, "--allow-dirty").exit_code == 0
    assert there.submitted["metadata"] == {"commit": "0123456789ab-dirty"}


def test_a_wrong_token_is_refused(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
    with dashboard(token="0" * 64) as there, pytest.raises(ClusterError, match="it refuses this token"):
        detach(study, there.address)
    assert not there.submitted


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (None, "is left out"),
        ("", "is left out"),
        ("10.0.0.1:6379", "10.0.0.1:6379 is not that of a dashboard"),
        ("auto", "auto is not that of a dashboard"),
        ("http://me:secret@head:8265", "holds more than a host and its port"),
    ],
)
def test_what_is_no_dashboards_address_is_refused_and_no_password_told(
    study: Path, address: str | None, why: str
) -> None:
    refusal = f"--address: {why}.*; write it as http://HOST:8265"
    with pytest.raises(InputError, match=refusal) as caught:
        detach(study, address)
    assert "secret" not in str(caught.value)
    with pytest.raises(InputError, match=refusal):
        attach("sweep-x", address)


def test_a_token_file_that_is_not_there_is_said_before_anybody_is_asked(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/no/such/token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    with pytest.raises(ClusterError, match="RAY_AUTH_TOKEN_PATH: /no/such/token can't be read"):
        attach("sweep-x", NOBODY)


def test_where_no_dashboard_answers_that_is_said_whatever_the_environment_names(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dashboard(says=BEGUN) as there:
        monkeypatch.setenv("RAY_ADDRESS", there.address)
        with pytest.raises(ClusterError, match=f"--address {NOBODY}: no dashboard of Ray takes jobs there"):
            detach(study, NOBODY)


def test_a_password_of_mlflow_is_not_sent(study: Path) -> None:
    with dashboard(says=BEGUN) as there, pytest.raises(InputError, match="--tracking-uri: holds a password"):
        detach(study, there.address, "--tracking-uri", "http://me:secret@mlflow:5000")
    assert not there.submitted
