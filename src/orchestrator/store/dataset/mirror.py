"""A copy of what trials committed, and of the dataset, in an object store: each file once, and none over another.

A key is made by a conditional put, which one writer wins, and the object store itself checks the SHA-256. Outcomes go
last, as in the store; a dataset has a folder for each of its states. Keys and addresses are the environment's to know.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from orchestrator.store.derived import DatasetSeal
from orchestrator.store.outcomes import committed_ids
from workers.contract.data_class import DataClass
from workers.contract.errors import InputError, Problem, StoreError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.system.sources import sha256_of

PLACE = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[\w.=/-]*))?", re.ASCII)
CONNECT_TIMEOUT_S = 10
ABSENT, TAKEN = "404", ("PreconditionFailed", "ConditionalRequestConflict")


@dataclass
class Mirrored:
    """How many files were sent, and how many were there already."""

    n_sent: int = 0
    n_there: int = 0
    n_bytes: int = 0

    def __str__(self) -> str:
        """For a terminal."""
        return f"{self.n_sent} files sent ({decimal(self.n_bytes)}), {self.n_there} there before"


def mirror(layout: StoreLayout, place: str, *, data_class: DataClass, reach: "Reach | None" = None) -> Mirrored:
    """Send what the copy at `s3://BUCKET/PREFIX` lacks, below the name of the store's folder; again goes on.

    Args:
        reach: Opens a bucket; S3's by default.

    Raises:
        InputError: It is no such place, it can't be written, or the records may not leave the store.
        StoreError: A file is not what its outcome says, or something else lies under its key, which stays.
    """
    found = PLACE.fullmatch(place)
    if found is None:
        remedy = "write it as s3://BUCKET/PREFIX, the bucket of 3 to 63 small letters, digits, dots and hyphens"
        raise InputError(Problem("--to", f"{place!r} is no place in an object store", remedy))
    if data_class is DataClass.CONTROLLED:
        what = "predictions and adapters of controlled records stay in their store"
        raise InputError(Problem("--to", what, "copy what `sweep export STUDY --to BUNDLE` makes"))
    folder = "/".join(filter(None, ((found["prefix"] or "").strip("/"), layout.root.name)))
    done = Mirrored()
    with (reach or s3_bucket)(place, found["bucket"]) as bucket:
        for path, digest, key in (*_of_trials(layout), *_of_dataset(layout)):
            bucket.keep(path, digest, f"{folder}/{key}", done)
    return done


@dataclass(frozen=True)
class ObjectBucket:
    """A bucket, as boto3 speaks to it.

    refusal: What its answers other than yes are raised as.
    """

    client: Any
    name: str
    refusal: type[Exception]

    def keep(self, path: Path, digest: str, key: str, done: Mirrored) -> None:
        """See that a key holds a file of this digest, unless it holds another."""
        checksum = base64.b64encode(bytes.fromhex(digest)).decode()
        if (there := self._checksum(key)) is None:
            body = path.read_bytes()
            if hashlib.sha256(body).hexdigest() != digest:
                raise StoreError(f"{path}: is not what was written; `sweep verify` says more")
            if self._is_made(key, body, checksum):
                done.n_sent, done.n_bytes = done.n_sent + 1, done.n_bytes + len(body)
                return
            there = self._checksum(key)
        if there == checksum:
            done.n_there += 1
        else:
            raise StoreError(f"s3://{self.name}/{key}: holds something else, which stays; give --to another place")

    def _checksum(self, key: str) -> str | None:
        """That of what lies there; null where nothing does."""
        try:
            found = self.client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
        except self.refusal as error:
            if _code(error) != ABSENT:
                raise
            return None
        if kept := found.get("ChecksumSHA256"):
            return str(kept)
        body = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()  # not every server keeps one
        return base64.b64encode(hashlib.sha256(body).digest()).decode()

    def _is_made(self, key: str, body: bytes, checksum: str) -> bool:
        """Whether it was ours to make."""
        try:
            self.client.put_object(
                Bucket=self.name,
                Key=key,
                Body=body,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=checksum,
                IfNoneMatch="*",
            )
        except self.refusal as error:
            if _code(error) not in TAKEN:
                raise
            return False
        return True


Reach = Callable[[str, str], AbstractContextManager[ObjectBucket]]


@contextmanager
def s3_bucket(place: str, name: str) -> Iterator[ObjectBucket]:
    """A bucket of S3, or of what speaks like it; raises InputError where it can't be written."""
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ModuleNotFoundError:
        remedy = "install the extra: pip install 'rationale-sweep[s3]'"
        raise InputError(Problem("--to", "takes boto3, which is not installed", remedy)) from None
    try:
        config = Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=CONNECT_TIMEOUT_S)
        client = boto3.client("s3", config=config)
        client.head_bucket(Bucket=name)
        yield ObjectBucket(client, name, ClientError)
    except (BotoCoreError, ClientError, ValueError) as error:
        remedy = "see that the bucket is there, and its AWS_ENDPOINT_URL and keys are in the environment, and run again"
        raise InputError(Problem("--to", f"{place} can't be written ({_code(error)})", remedy)) from None


def _code(error: Exception) -> str:
    """Of an answer; the kind of what kept one from coming: its text may tell keys."""
    answer: dict[str, Any] = getattr(error, "response", {})
    return str(answer.get("Error", {}).get("Code") or type(error).__name__)


def _of_trials(layout: StoreLayout) -> Iterator[tuple[Path, str, str]]:
    """Files of each committed trial, their digests and keys; the outcome last."""
    for trial_id in committed_ids(layout):
        path = layout.outcome(trial_id)
        outcome = Outcome.load(path)
        for name, digest in outcome.files.items():
            each = layout.trial(trial_id) / outcome.attempt / name
            yield each, digest, str(each.relative_to(layout.root))
        yield path, sha256_of(path), str(path.relative_to(layout.root))


def _of_dataset(layout: StoreLayout) -> Iterator[tuple[Path, str, str]]:
    """Files of the dataset; it is written anew, so each state has a folder of its own."""
    if not layout.dataset_seal.is_file():
        return
    seal, state = DatasetSeal.model_validate_json(layout.dataset_seal.read_bytes()), sha256_of(layout.dataset_seal)
    folder = f"{layout.dataset.name}/{state[:16]}"
    for name, digest in seal.files.items():
        yield layout.dataset / name, digest, f"{folder}/{name}"
    yield layout.dataset_seal, state, f"{folder}/{layout.dataset_seal.name}"
