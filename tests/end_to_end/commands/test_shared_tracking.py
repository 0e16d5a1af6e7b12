"""`cluster/mlflow/serve.sh`: a real PostgreSQL of Debian below it, a server that speaks S3 beside it, and a login."""

import base64
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from support.launches.mlflow_server import free_port
from support.launches.scenes import wait_until
from support.places import REPOSITORY
from workers.contract.layout import StoreLayout

NEEDED = ("moto", "boto3", "psycopg", "flask_wtf")
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
ASKED = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=micro"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not BINARIES or os.geteuid() != 0 or not all(map(find_spec, NEEDED)),
        reason="root, Debian's postgresql, moto[server] and the extra `tracking-server` are needed",
    ),
]


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Where a PostgreSQL of ours is found, by libpq's own variables."""
    home, port, password = Path(tempfile.mkdtemp()), str(free_port()), secrets.token_hex(8)
    (home / "password").write_text(password)
    for path in (home, home / "password"):
        os.chown(path, pwd.getpwnam("postgres").pw_uid, -1)
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"127.0.0.1:{port}:*:mlflow:{password}\n")
    passwords.chmod(0o600)

    def as_postgres(program: str, *words: str) -> None:
        place = [str(BINARIES[-1] / program), "-D", str(home / "data")]
        command = ["setpriv", "--reuid", "postgres", "--clear-groups", *place]
        subprocess.run([*command, *words], cwd="/", check=True, stdout=subprocess.DEVNULL)

    as_postgres("initdb", "-U", "mlflow", "-A", "scram-sha-256", f"--pwfile={home / 'password'}")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={home}"
    as_postgres("pg_ctl", "-w", "-l", str(home / "log"), "-o", options, "start")
    try:
        yield {"PGHOST": "127.0.0.1", "PGPORT": port, "PGUSER": "mlflow", "PGPASSFILE": str(passwords)}
    finally:
        as_postgres("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(home)


@pytest.fixture
def objects() -> Iterator[dict[str, str]]:
    """Where a server that speaks S3 is found, with a bucket for artifacts."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"AWS_ACCESS_KEY_ID": "us", "AWS_SECRET_ACCESS_KEY": "s3-secret", "AWS_DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**keys, "AWS_ENDPOINT_URL": address}.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="lab")
        yield {**keys, "AWS_ENDPOINT_URL": address}
    server.stop()


def status(address: str, *, login: str = "", host: str = "") -> int:
    asked = urllib.request.Request(address, headers={"Host": host} if host else {})
    if login:
        asked.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_a_study_is_projected_to_a_server_that_many_share_and_no_secret_is_in_a_command_line(
    layout: StoreLayout, tmp_path: Path, postgres: dict[str, str], objects: dict[str, str]
) -> None:
    import boto3
    import psycopg

    here = {**os.environ, **postgres, **objects, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    login = " ".join(f"{name[2:].lower()}={value}" for name, value in postgres.items() if name != "PGPASSFILE")
    with psycopg.connect(f"{login} passfile={postgres['PGPASSFILE']} dbname=postgres", autocommit=True) as database:
        database.execute("create database mlflow")
        database.execute("create database mlflow_users")
    password, port = secrets.token_hex(12), str(free_port())
    kept = {"admin_password": password, "session_key": secrets.token_hex(16)}
    for name, value in kept.items():
        (tmp_path / name).write_text(value)
    told = {"ARTIFACTS": "s3://lab/mlflow", "HOSTS": f"127.0.0.1:{port}", "SECRETS": str(tmp_path), "PORT": port}
    uri, log = f"http://127.0.0.1:{port}", tmp_path / "server.log"
    with log.open("wb") as said:
        server = subprocess.Popen(
            [REPOSITORY / "cluster/mlflow/serve.sh"],
            env={**here, **told},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        wait_until(lambda: status(f"{uri}/health") == 200, what="the server answers", seconds=120)
        who = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": password}
        command = [sys.executable, "-P", "-m", "orchestrator.cli", "sync", str(layout.root), "--tracking-uri", uri]
        synced = subprocess.run([*command, "--json"], env={**here, **who}, capture_output=True, text=True, check=True)
        upload = (
            "import mlflow; mlflow.set_experiment('micro'); mlflow.start_run(); mlflow.log_text('seen', 'note.txt')"
        )
        subprocess.run(
            [sys.executable, "-c", upload], env={**here, **who, "MLFLOW_TRACKING_URI": uri}, check=True, cwd=tmp_path
        )
        answers = [
            status(uri + ASKED, login=each, host=host)
            for each, host in (
                ("", ""),
                ("admin:another", ""),
                (f"admin:{password}", ""),
                (f"admin:{password}", "evil"),
            )
        ]
        lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)
    assert json.loads(synced.stdout)["n_runs_written"] > 0
    assert answers == [401, 401, 200, 403]
    (artifact,) = boto3.client("s3").list_objects_v2(Bucket="lab")["Contents"]
    assert artifact["Key"].startswith("mlflow/") and artifact["Key"].endswith("/note.txt")
    for secret in (*kept.values(), "s3-secret"):
        assert secret not in lines
        assert secret not in log.read_text()
