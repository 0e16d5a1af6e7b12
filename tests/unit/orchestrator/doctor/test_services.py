"""`sweep doctor` on what lies outside of the machine and the store: cluster, MLflow, hub, endpoint."""

import errno
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from orchestrator.design.grid import Design
from orchestrator.doctor.check import Grade
from orchestrator.doctor.diagnosis import diagnose, file_system_of
from orchestrator.doctor.services import (
    Joined,
    check_cluster,
    check_database,
    check_endpoint,
    check_hub,
    check_server,
    check_token,
    check_tracked,
    reach,
)
from orchestrator.store.outcomes import Outcomes, read_outcomes
from orchestrator.study.study import Study
from support.launches.checkups import one, raising
from support.stores.tracked import FIRST, commit
from workers.contract.answers.readiness import Readiness
from workers.contract.answers.roll_call import Present, Software
from workers.contract.answers.sketches import Sketched
from workers.contract.errors import ClusterError, Problem
from workers.contract.layout import StoreLayout

HTTP_OK, TEAPOT = 200, 418


class TestCluster:
    def test_one_that_answers_says_what_it_holds_and_one_that_does_not_fails(self) -> None:
        def nobody(_: str) -> Joined:
            raise ClusterError("--address h:1: no Ray cluster answers there; start one")

        (found,) = check_cluster("h:1", nobody)
        assert (found.grade, found.remedy) == (Grade.FAIL, "start one")

    def test_each_node_of_a_cluster_is_told_of_and_an_unfit_one_fails(self) -> None:
        mine = Software.here()
        nodes = (Present(host="a", software=mine), Present(host="b", software=mine))
        joined = Joined("2 trials at once", nodes, (Problem("node b", "has no store", "mount it"),))
        found = {check.name: check for check in check_cluster("h:1", lambda _: joined)}
        assert found["cluster"].what == "h:1: 2 trials at once"
        assert mine.code in found["node a"].what
        assert (found["node b"].grade, found["node b"].remedy) == (Grade.FAIL, "mount it")

    def test_a_token_must_be_there_and_private(self, tmp_path: Path) -> None:
        path = tmp_path / "token"
        environ = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}

        def grade() -> Grade | None:
            found = check_token(environ, address="10.0.0.1:6379")
            return found.grade if found else None

        assert grade() is Grade.FAIL
        path.touch(0o600)
        assert grade() is Grade.FAIL
        path.write_text("secret")
        assert grade() is Grade.OK
        path.chmod(0o640)
        assert grade() is Grade.FAIL

    def test_a_cluster_without_a_token_is_a_warning_unless_it_is_on_this_machine(self) -> None:
        far = check_token({}, address="10.0.0.1:6379")
        assert far is not None and far.grade is Grade.WARN
        assert check_token({}, address="127.0.0.1:6379") is None
        assert check_token({}, address=None) is None

    def test_a_token_that_no_mode_shows_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("secret")
        (tmp_path / "token").chmod(0o600)
        found = check_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}, address="10.0.0.1:6379")
        assert found is not None and (found.grade, "RAY_AUTH_MODE=token" in found.remedy) == (Grade.WARN, True)
        wrong = check_token({"RAY_AUTH_MODE": "tokn"}, address="10.0.0.1:6379")
        assert wrong is not None and wrong.grade is Grade.FAIL


@contextmanager
def serving(status: int) -> Iterator[str]:
    """A server that answers everything with one status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return None

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class TestTracking:
    def test_a_server_is_asked_for_its_health(self) -> None:
        with serving(HTTP_OK) as uri:
            assert check_server(uri, reach=reach).grade is Grade.OK
        with serving(TEAPOT) as uri:
            assert check_server(uri, reach=reach).grade is Grade.WARN

    def test_a_dead_address_fails_and_its_password_is_not_told(self) -> None:
        found = check_server("http://me:hunter2@127.0.0.1:9", reach=raising(errno.ECONNREFUSED))
        assert found.grade is Grade.FAIL and "hunter2" not in found.what + found.remedy
        assert check_server("http://127.0.0.1:9", reach=reach).grade is Grade.FAIL

    def test_a_database_that_is_whole_and_free_is_well_and_none_is_too(self, tmp_path: Path) -> None:
        path = tmp_path / "mlflow.db"
        assert check_database(path).grade is Grade.OK
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE t (a)")
        database.close()
        assert check_database(path).grade is Grade.OK

    def test_one_that_is_damaged_or_none_fails(self, tmp_path: Path) -> None:
        path = tmp_path / "mlflow.db"
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE t (a)")
            database.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 900)
        database.close()
        body = bytearray(path.read_bytes())
        body[8_192 : 8_192 + 9_000] = b"\xff" * 9_000
        path.write_bytes(body)
        assert check_database(path).grade is Grade.FAIL
        path.write_text("no database at all, but some text that is long enough")
        assert check_database(path).grade is Grade.FAIL

    def test_one_that_is_locked_or_on_a_network_folder_is_a_warning(self, tmp_path: Path) -> None:
        path = tmp_path / "mlflow.db"
        holder = sqlite3.connect(path)
        holder.execute("CREATE TABLE t (a)")
        holder.execute("BEGIN EXCLUSIVE")
        assert "locked" in check_database(path).what
        holder.close()
        assert check_database(path, file_system="nfs4").grade is Grade.WARN

    def test_trials_that_mlflow_lacks_are_counted(self, tmp_path: Path) -> None:
        path = tmp_path / "mlflow.db"
        assert check_tracked(path, ["a"], store=tmp_path) is None
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE runs (run_uuid, lifecycle_stage)")
            database.execute("CREATE TABLE tags (run_uuid, key, value)")
            for run, trial, state in (("1", "a", "scored"), ("2", "b", "failed")):
                database.execute("INSERT INTO runs VALUES (?, 'active')", [run])
                database.execute("INSERT INTO tags VALUES (?, 'sweep.trial_id', ?)", [run, trial])
                database.execute("INSERT INTO tags VALUES (?, 'sweep.state', ?)", [run, state])
        database.close()
        found = check_tracked(path, ["a", "b"], store=tmp_path)
        assert found is not None and found.what == "1 of 2 committed trials are not in MLflow"
        well = check_tracked(path, ["a"], store=tmp_path)
        assert well is not None and well.grade is Grade.OK

    def test_a_real_database_of_mlflow_is_understood(
        self, layout: StoreLayout, study: Study, design: Design, empty_database: Path
    ) -> None:
        from orchestrator.tracking.tracking import Tracking

        shutil.copy(empty_database, layout.tracking_database)
        outcomes = read_outcomes(layout)
        kept = dict(list(outcomes.committed.items())[1:])
        tracking = Tracking(layout)
        tracking.open_study(study.study)
        tracking.reconcile(design, Outcomes(kept), {})
        tracking.close(complete=False)
        found = check_tracked(layout.tracking_database, outcomes.committed, store=layout.root)
        assert found is not None and found.what.startswith(f"1 of {len(outcomes.committed)} ")

    def test_what_left_the_design_is_looked_for_in_mlflow_too(
        self, layout: StoreLayout, study: Study, design: Design, empty_database: Path
    ) -> None:
        from orchestrator.tracking.tracking import Tracking

        committed = read_outcomes(layout)
        left = commit(layout, FIRST)  # of another study, so of no trial of this design
        shutil.copy(empty_database, layout.tracking_database)
        for outcomes, what in ((committed, "1 of {} committed trials are not"), (read_outcomes(layout), "all {}")):
            tracking = Tracking(layout)
            tracking.open_study(study.study)
            tracking.reconcile(design, outcomes, {})
            tracking.close(complete=False)
            diagnosis = diagnose(study, layout, ask_worker=Readiness, ask_bases=lambda _: Sketched(), start_ray=str)
            found = one(list(diagnosis.checks), "tracked")
            assert left.trial_id not in design.by_id
            assert found.what.startswith(what.format(len(committed.committed) + 1))


class TestElsewhere:
    def test_a_hub_is_asked_only_where_a_model_must_be_fetched(self) -> None:
        refuses = raising(errno.ENETUNREACH)
        assert check_hub((), hub="https://hub", reach=refuses, is_offline=False) is None
        found = check_hub({"a/b"}, hub="https://hub", reach=refuses, is_offline=False)
        assert found is not None and found.grade is Grade.FAIL
        offline = check_hub({"a/b"}, hub="https://hub", reach=lambda _: HTTP_OK, is_offline=True)
        assert offline is not None and offline.grade is Grade.FAIL

    @pytest.mark.parametrize(
        "address",
        [
            "http://user:s3cret@localhost",
            "http://user:s3cret@localhost:0",
            "http://localhost:0/?key=s3cret",
            "http://s3cret@",
        ],
    )
    def test_credentials_in_an_address_are_never_shown(self, address: str) -> None:
        found = [
            check_server(address, reach=reach),
            check_hub({"a/b"}, hub=address, reach=reach, is_offline=False),
            check_hub({"a/b"}, hub=address, reach=lambda _: HTTP_OK, is_offline=False),
        ]
        assert [check.grade for check in found if check] == [Grade.FAIL, Grade.FAIL, Grade.OK]
        assert "s3cret" not in "".join(map(str, found))

    def test_an_endpoint_needs_its_key_and_must_answer(self) -> None:
        place = "http://teacher:8000/v1"
        assert check_endpoint(place, "KEY", environ={}, reach=lambda _: HTTP_OK).what == "KEY is not set"
        assert check_endpoint(place, "KEY", environ={"KEY": "k"}, reach=lambda _: 401).grade is Grade.OK
        assert check_endpoint(place, None, environ={}, reach=raising(errno.ECONNREFUSED)).grade is Grade.FAIL

    def test_the_kind_of_file_system_is_known(self) -> None:
        assert file_system_of(Path("/proc/self")) == "proc"
