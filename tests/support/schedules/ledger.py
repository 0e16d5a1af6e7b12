"""What a store must hold and what it must not: seen from outside, file by file, while drivers and workers go about."""

import json
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from orchestrator.design.plan import Plan
from orchestrator.store.outcomes import read_attempts, read_outcomes
from support.schedules.worlds import Worker
from support.studies.played_trials import FILES
from workers.contract.layout import StoreLayout
from workers.contract.outcome import PREDICTIONS, Outcome
from workers.contract.system.sources import sha256_of


class Ledger:
    """What the store must hold: the outcomes seen so far, byte for byte, and the damaged ones that left."""

    def __init__(self, layout: StoreLayout, trial_ids: Iterable[str]) -> None:
        self.layout = layout
        self.trial_ids = tuple(trial_ids)
        self.accepted: dict[str, bytes] = {}
        self.damaged: set[str] = set()
        self.moved_away: dict[str, list[bytes]] = defaultdict(list)
        self.attempts: dict[Path, bytes] = {}
        self.winners: set[str] = set()

    def look(self) -> None:
        """Compare the store with what was seen before."""
        for trial_id in self.trial_ids:
            path = self.layout.outcome(trial_id)
            body = path.read_bytes() if path.exists() else None
            before = self.accepted.get(trial_id)
            if before is not None and body != before:
                assert trial_id in self.damaged, f"the outcome of {trial_id} is {'changed' if body else 'gone'}"
                self.moved_away[trial_id].append(self.accepted.pop(trial_id))
                self.damaged.discard(trial_id)
            if body is not None and trial_id not in self.accepted:
                self.accepted[trial_id] = body
            if body is not None and trial_id not in self.damaged:
                self._see_files(trial_id, Outcome.parse(body), anew=body != before)
        found = {path: path.read_bytes() for path in self.layout.attempts("any").parent.glob("*/*.json")}
        assert self.attempts.items() <= found.items(), "an attempt record was changed"
        self.attempts = found

    def _see_files(self, trial_id: str, outcome: Outcome, *, anew: bool) -> None:
        folder = self.layout.trial(trial_id) / outcome.attempt
        self.winners.add(outcome.attempt)
        assert len(outcome.files) == len(FILES)
        for name, digest in outcome.files.items():
            assert (folder / name).is_file(), f"{name} of a committed trial is gone"
            assert not anew or sha256_of(folder / name) == digest, f"{name} is not what was committed"

    def damage(self, trial_id: str, how: str) -> None:
        """Spoil a committed trial: `predictions`, or its outcome: `truncate` or `flip` a bit."""
        path = self.layout.outcome(trial_id)
        body = path.read_bytes()
        if how == "predictions":
            (path.parent / Outcome.parse(body).attempt / PREDICTIONS).write_bytes(b"damaged")
        else:
            middle = body.index(f'{FILES[-1]}": "'.encode()) + len(FILES[-1]) + 9  # in a digest: it can still be read
            end = b"" if how == "truncate" else bytes([body[middle] ^ 1]) + body[middle + 1 :]
            path.write_bytes(body[:middle] + end)
        self.accepted[trial_id] = path.read_bytes()
        self.damaged.add(trial_id)

    def see_all_done(self, plan: Plan) -> None:
        """One outcome a trial counts, and everything that was damaged lies in quarantine, nothing else does."""
        failed = [record for records in read_attempts(self.layout).values() for record in records]
        assert not plan.todo, f"{plan.counts}, after {[(record.where, record.detail) for record in failed]}"
        assert not self.damaged, "damage was overlooked"
        checksums = {trial_id: Outcome.parse(body).checksum for trial_id, body in self.accepted.items()}
        committed = read_outcomes(self.layout).committed
        assert {trial_id: outcome.checksum for trial_id, outcome in committed.items()} == checksums
        quarantined = defaultdict(list)
        for path in self.layout.quarantine.glob("*"):
            quarantined[path.name[:16]].append(path.read_bytes())
        assert _sorted(quarantined) == _sorted(self.moved_away)

    def see_nothing_left_over(self) -> None:
        """No temporary file, lease, resume point or order; no attempt but those committed or in quarantine."""
        root = self.layout.root
        assert [*root.rglob(".tmp-*"), *root.rglob(".write-test-*"), *root.glob("checkpoints/*")] == []
        assert {path.suffix for path in self.layout.leases.glob("driver-*")} == {".beat", ".json"}
        assert len([*self.layout.leases.iterdir(), *self.layout.orders.iterdir()]) == 2
        evidence = {_attempt_of(path) for path in self.layout.quarantine.glob("*")}
        torn = {path.name[:16] for path in self.layout.quarantine.glob("*") if not _attempt_of(path)}
        for trial_id, outcome in read_outcomes(self.layout).committed.items():
            if trial_id in torn:  # each of its attempts may be the one that the torn outcome named
                continue
            kept = {outcome.attempt, *evidence}
            for folder in self.layout.trial(trial_id).glob("*/"):
                assert folder.name in kept, f"{folder} is left over"

    def see_evidence(self, worker: Worker) -> None:
        """What came too late is kept, and what ran here was left alone; asked of a disk without faults."""
        has_worked = worker.play.is_done and worker.ending is not None and worker.ending.failure is None
        for lease in worker.leases if has_worked else ():
            attempt = lease.name.split(".")[1]
            superseded = self.layout.superseded(worker.trial_id) / f"{attempt}.json"
            assert attempt in self.winners or superseded.is_file(), f"{attempt} left no evidence"
        here = {lease.name.split(".")[1] for lease in worker.leases if not worker.is_elsewhere}
        for record in read_attempts(self.layout).get(worker.trial_id, ()):
            is_lost = record.error == "FileNotFoundError" or "vanished before" in record.detail
            assert not (record.attempt in here and is_lost), (
                f"{record.attempt} was disturbed: {record.error} at {record.where}"
            )


def _attempt_of(outcome: Path) -> str:
    """Which attempt an outcome names; nothing where that can't be read."""
    with suppress(ValueError):
        return str(json.loads(outcome.read_bytes())["attempt"])
    return ""


def _sorted(bodies: dict[str, list[bytes]]) -> dict[str, list[bytes]]:
    return {trial_id: sorted(each) for trial_id, each in bodies.items()}
