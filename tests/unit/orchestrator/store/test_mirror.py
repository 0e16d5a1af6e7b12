"""A copy in an object store: each file once, what is there stays, and what is not as it was written never goes."""

import base64
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.design.grid import Design
from orchestrator.store.dataset.aggregate import aggregate
from orchestrator.store.dataset.mirror import Mirrored, ObjectBucket, mirror
from workers.contract.data_class import DataClass
from workers.contract.errors import InputError, StoreError
from workers.contract.layout import StoreLayout

PLACE = "s3://results/of/us/"


class Refused(Exception):
    def __init__(self, code: str) -> None:
        self.response = {"Error": {"Code": code}}


@dataclass
class Objects:
    """A bucket in memory.

    keeps_checksums: Not every server does.
    fails_after: So many puts, as where a connection breaks.
    """

    keeps_checksums: bool = True
    fails_after: int | None = None
    held: dict[str, bytes] = field(default_factory=dict)

    def head_object(self, *, Bucket: str, Key: str, ChecksumMode: str) -> dict[str, str]:
        if Key not in self.held:
            raise Refused("404")
        return {"ChecksumSHA256": digest(self.held[Key])} if self.keeps_checksums else {}

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        return {"Body": io.BytesIO(self.held[Key])}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, IfNoneMatch: str, **checksum: str) -> None:
        if len(self.held) == self.fails_after:
            raise Refused("500")
        if Key in self.held:
            raise Refused("PreconditionFailed")
        assert (Bucket, IfNoneMatch, checksum["ChecksumSHA256"]) == ("results", "*", digest(Body))
        self.held[Key] = Body

    @contextmanager
    def reach(self, place: str, name: str) -> Iterator[ObjectBucket]:
        yield ObjectBucket(self, name, Refused)

    def take(self, layout: StoreLayout) -> Mirrored:
        return mirror(layout, PLACE, data_class=DataClass.PUBLIC, reach=self.reach)


def digest(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def files_of_trials(layout: StoreLayout) -> set[Path]:
    return {path for path in layout.trials.rglob("*") if path.is_file()}


@pytest.mark.parametrize("keeps_checksums", [True, False])
def test_what_trials_committed_and_the_dataset_are_sent_and_sent_once(
    layout: StoreLayout, design: Design, keeps_checksums: bool
) -> None:
    aggregate(layout, design)
    there = Objects(keeps_checksums)
    first = there.take(layout)
    root = f"of/us/{layout.root.name}"
    for path in files_of_trials(layout):
        assert there.held[f"{root}/{path.relative_to(layout.root)}"] == path.read_bytes()
    seal = layout.dataset_seal.read_bytes()
    tables = f"{root}/dataset/{hashlib.sha256(seal).hexdigest()[:16]}"
    assert there.held[f"{tables}/checksums.json"] == seal
    assert first == Mirrored(len(there.held), 0, sum(map(len, there.held.values())))
    assert there.take(layout) == Mirrored(0, len(there.held), 0)


def test_an_outcome_goes_after_the_files_that_it_names(layout: StoreLayout) -> None:
    there = Objects()
    there.take(layout)
    keys = list(there.held)
    for outcome in (key for key in keys if key.endswith("/outcome.json")):
        of_trial = [key for key in keys if key.startswith(outcome.removesuffix("outcome.json"))]
        assert of_trial[-1] == outcome


def test_a_copy_that_broke_off_goes_on(layout: StoreLayout) -> None:
    there = Objects(fails_after=5)
    with pytest.raises(Refused):
        there.take(layout)
    there.fails_after = None
    assert there.take(layout).n_there == 5


def test_what_else_lies_under_a_key_stays_and_is_named(layout: StoreLayout) -> None:
    there = Objects()
    there.take(layout)
    key = next(key for key in there.held if key.endswith("outcome.json"))
    there.held[key] = b"another"
    with pytest.raises(StoreError, match=f"s3://results/{key}: holds something else, which stays"):
        there.take(layout)
    assert there.held[key] == b"another"


def test_a_file_that_is_not_what_was_written_is_not_sent(layout: StoreLayout) -> None:
    damaged = next(layout.trials.rglob("predictions.parquet"))
    damaged.write_bytes(b"torn")
    there = Objects()
    with pytest.raises(StoreError, match="is not what was written"):
        there.take(layout)
    assert b"torn" not in there.held.values()


def test_controlled_records_stay_in_their_store(layout: StoreLayout) -> None:
    there = Objects()
    with pytest.raises(InputError, match="controlled records stay"):
        mirror(layout, PLACE, data_class=DataClass.CONTROLLED, reach=there.reach)
    assert not there.held


@pytest.mark.parametrize("place", ["results", "/tmp/x", "s3://", "s3://B", "gs://results/x", "s3://results/a?key=1"])
def test_what_is_no_place_is_refused(layout: StoreLayout, place: str) -> None:
    with pytest.raises(InputError, match="is no place in an object store; write it as s3://BUCKET/PREFIX"):
        CliRunner().invoke(app, ["sync", str(layout.root), "--to", place], catch_exceptions=False)


@pytest.mark.slow
def test_a_server_that_speaks_s3_holds_what_was_sent(layout: StoreLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server.start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        client = boto3.client("s3")
        client.create_bucket(Bucket="results")
        first, again = (mirror(layout, PLACE, data_class=DataClass.PUBLIC) for _ in range(2))
        path = next(layout.trials.rglob("outcome.json"))
        key = f"of/us/{layout.root.name}/{path.relative_to(layout.root)}"
        assert client.get_object(Bucket="results", Key=key)["Body"].read() == path.read_bytes()
        client.put_object(Bucket="results", Key=key, Body=b"another")
        with pytest.raises(StoreError, match="holds something else"):
            mirror(layout, PLACE, data_class=DataClass.PUBLIC)
        with pytest.raises(InputError, match="s3://none can't be written"):
            mirror(layout, "s3://none", data_class=DataClass.PUBLIC)
    finally:
        server.stop()
    assert (first.n_sent, again) == (len(files_of_trials(layout)), Mirrored(0, first.n_sent, 0))
