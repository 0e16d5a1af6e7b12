"""Canaries in everything about invented participants, launches in which everything fails, and then a search for them.

Three sources (wide CSV, long CSV, MEDS), a chat endpoint as teacher; worker killed, out of memory, timeout, damaged
files, exceptions that quote rows, driver killed, MLflow down, weights that are no numbers, bad cells; every command.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from safetensors.torch import load_file, save_file

from orchestrator.design.grid import expand
from orchestrator.study.study import Study, load_study
from support.launches.lookout import DECLARED, PLANTED, Lookout, table_of
from support.launches.memory_groups import memory_group
from support.launches.scenes import Ended, Scene, wait_until
from support.launches.servers import Asked, ChatServer, Replied, answer, completion, serving
from support.studies.canaries import CELL, COHORTS, RAISED, REFUSED, REPLY, write_canary_study
from workers.contract.inputs import InputKind, Manifest, input_recipes
from workers.contract.outcome import Attempt, FailureKind, Outcome
from workers.contract.system.sources import digest_of_place, sha256_of
from workers.contract.trial import WorkOrder
from workers.preparing.prepare import prepare
from workers.requests.searching import Needles, fold, search

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]
NOBODY_LISTENS = "http://127.0.0.1:9"


def teach(asked: Asked) -> Replied:
    """Mostly valid answers; now and then a server's error or a text that is none, both with something to find."""
    if asked.number % 11 == 0:
        return Replied(status=500, body=REFUSED.format(asked.number))
    if asked.number % 7 == 0:
        return completion(f"{REFUSED.format(asked.number)} is no JSON")
    reasoning = f"Uric acid is high, which raises risk. {REPLY.format(asked.number)} is by the mill."
    return answer(reasoning, says="yes" if asked.number % 2 else "no")


class Stage:
    """One source's scene, its lookout, and what its commands are given."""

    def __init__(self, source: str, folder: Path, temporary: Path, server: ChatServer) -> None:
        self.folder, self.server = folder, server
        self.cohort = COHORTS[source](folder)
        for name in ("tmp", "home"):
            (temporary / name).mkdir()
        homes = {name: str(temporary / "tmp") for name in ("TMPDIR", "RAY_TMPDIR")} | {"HOME": str(temporary / "home")}
        self.scene = Scene(self.write(), homes)
        self.lookout = Lookout(self.scene, temporary)
        (folder / "out").mkdir()

    def write(self, **changes: Any) -> Path:  # noqa: ANN401  # of the study's resources, or its cohort
        """Write the study anew, in the same place."""
        cohort = changes.pop("cohort", self.cohort)
        return write_canary_study(self.folder, cohort, base_url=self.server.base_url, steps=300, **changes)

    @property
    def study(self) -> Study:
        return load_study(self.scene.study)

    def command(self, *words: object) -> Ended:
        """`sweep` with a command of one or two words, its output kept for the search."""
        ended = self.scene.launch(*words).end()
        assert "Traceback" not in ended.output
        return ended

    def has_met(self, kind: FailureKind) -> bool:
        return kind in self.kinds()

    def kinds(self) -> list[FailureKind]:
        return [Attempt.model_validate_json(path.read_bytes()).kind for path in self.scene.attempt_records()]


@pytest.fixture(scope="module")
def new_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Stage]]:
    stages: list[Stage] = []
    with ExitStack() as stack:
        server = stack.enter_context(serving(teach))

        def make(source: str) -> Stage:
            # Short, for the paths of sockets below it.
            temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cz", ignore_cleanup_errors=True)))
            stages.append(Stage(source, tmp_path_factory.mktemp(source), temporary, server))
            return stages[-1]

        yield make
        for stage in stages:
            stage.scene.end_all()


@pytest.fixture(scope="module", params=["wide", "long", "meds"])
def stage(request: pytest.FixtureRequest, new_stage: Callable[[str], Stage]) -> Stage:
    """A complete study that every command was run on; that of the wide table after every fault."""
    stage = new_stage(request.param)
    if request.param == "wide":
        _disturb(stage)
    launch = stage.scene.start()
    launch.until(stage.scene.n_committed, what="a trial ended")
    stage.lookout.look()
    ended = launch.end()
    assert ended.code == 0, ended.output
    _every_command(stage)
    stage.lookout.look()
    return stage


def _disturb(stage: Stage) -> None:
    _refuse_a_bad_cell(stage)
    _prepare_here(stage)
    tokens, sound = _tokens_of(stage)
    tokens.write_bytes(f"{RAISED.format(1)} is no Parquet".encode())
    _time_out_without_mlflow(stage)
    with memory_group() as group:
        _raise_and_lose_workers(stage, tokens, sound, group)
    _lose_the_driver(stage)
    for path, content in sound.items():
        path.write_bytes(content)
    _diverge(stage)


def _refuse_a_bad_cell(stage: Stage) -> None:
    table = pd.read_csv(stage.cohort["file"], dtype=str)
    table.loc[5, "urate"] = CELL.format(5)
    bad = stage.folder / "bad.csv"
    table.to_csv(bad, index=False)
    stage.write(cohort={**stage.cohort, "file": str(bad), "sha256": digest_of_place(bad)})
    for words in (("cohort", "check", stage.scene.study), ("run", stage.scene.study)):
        assert stage.command(*words).code == 2
    stage.write()


def _prepare_here(stage: Stage) -> None:
    study, layout = stage.study, stage.scene.layout
    sources = {str(study.cohort.source_digest): str(study.cohort.place)}
    trials = expand(study).everything
    prepare(WorkOrder(trial=t, store=str(layout.root), sources=sources, endpoint=study.endpoint) for t in trials)


Sound = dict[Path, bytes]


def _tokens_of(stage: Stage) -> tuple[Path, Sound]:
    """What trials with rationales of one kind read, and its bytes with those of the manifest."""
    trial = next(trial for trial in expand(stage.study).trials if trial.spec.supervision == "step_by_step")
    manifest = stage.scene.layout.manifest(input_recipes(trial.spec)[InputKind.RATIONALE_TOKENS].digest())
    tokens = next(manifest.parent.glob("*/tokens.parquet"))
    return tokens, {path: path.read_bytes() for path in (tokens, manifest)}


def _time_out_without_mlflow(stage: Stage) -> None:
    """Those without rationales; the others meet the damaged file, and five that fail alike would end a launch."""
    stage.write(timeout_s=0.2)
    for supervision, kind in (("label_only", FailureKind.TIMEOUT), ("step_by_step", FailureKind.DATA)):
        launch = stage.scene.start("--tracking-uri", NOBODY_LISTENS, "--only", f"supervision={supervision}")
        launch.until(partial(stage.has_met, kind), what=f"a trial failed: {kind}")
        stage.lookout.look()
        ended = launch.end()
        assert ended.code == 3, ended.output
        assert "tracking missed" in ended.output
    stage.lookout.look()


def _pass_off(file: Path) -> None:
    """Let the manifest of an input say that what a file holds now is what was made."""
    manifest = file.parents[1] / "manifest.json"
    known = Manifest.load(manifest)
    assert known is not None
    changed = known.model_copy(update={"files": {**known.files, file.name: sha256_of(file)}})
    manifest.write_text(changed.sealed().model_dump_json())


def _raise_and_lose_workers(stage: Stage, tokens: Path, sound: Sound, tight_group: Path | None) -> None:
    """Tokens that are none make the library quote them; one worker is killed, one runs out of memory."""
    tokens.write_bytes(sound[tokens])
    table = pd.read_parquet(tokens)
    table["step_by_step"] = [[RAISED.format(row)] for row in range(len(table))]
    table.to_parquet(tokens)
    _pass_off(tokens)
    stage.write(checkpoint_every_s=0.5)
    left = set(stage.scene.resume_points())
    launch = stage.scene.start()
    launch.until(lambda: set(stage.scene.resume_points()) - left, what="a worker trains")
    stage.lookout.look()
    launch.until(stage.scene.workers, what="a worker is there")[0].kill()
    launch.until(partial(stage.has_met, FailureKind.LOST_WORKER), what="the lost worker is on record")
    if tight_group is not None:
        worker = launch.until(stage.scene.workers, what="there is a worker again")[-1]
        (tight_group / "cgroup.procs").write_text(str(worker.pid))
        launch.until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, what="it was killed")
    stage.lookout.look()
    ended = launch.end()
    assert ended.code == 3, ended.output
    assert {FailureKind.LOST_WORKER, FailureKind.CODE} <= set(stage.kinds())
    stage.lookout.look()


def _lose_the_driver(stage: Stage) -> None:
    """While trials with unreadable tokens are tried once more; what Ray has written stays where it lies."""
    launch = stage.scene.start()
    before = len(stage.scene.attempt_records())
    launch.until(lambda: len(stage.scene.attempt_records()) > before, what="a trial failed")
    launch.kill()
    wait_until(lambda: not stage.scene.workers(), what="the workers noticed")
    stage.lookout.look()


def _diverge(stage: Stage) -> None:
    """The same study in a store of its own, whose base holds no numbers."""
    layout = stage.scene.layout
    aside = stage.folder / "aside"
    layout.root.rename(aside)
    layout.root.mkdir(mode=0o700)
    shutil.copytree(aside / "inputs", layout.inputs)
    spec = next(trial.spec for trial in expand(stage.study).trials)
    manifest = layout.manifest(input_recipes(spec)[InputKind.BASE].digest())
    weights = next(manifest.parent.glob("*/model.safetensors"))
    save_file({name: value * float("nan") for name, value in load_file(weights).items()}, weights)
    _pass_off(weights)
    ended = stage.scene.run()
    assert ended.code == 0, ended.output
    states = [Outcome.load(path).state for path in layout.trials.glob("*/outcome.json")]
    assert states.count("diverged") == 6
    stage.lookout.look()
    shutil.rmtree(layout.root)
    aside.rename(layout.root)


def _every_command(stage: Stage) -> None:
    study, layout, out = stage.scene.study, stage.scene.layout, stage.folder / "out"
    trial = next(t.trial_id for t in expand(stage.study).trials if t.spec.supervision == "free_form")
    failed = stage.scene.attempt_records()[0].parent.name if stage.scene.attempt_records() else trial
    tables = ("trials", "history", "diagnostics")
    commands: list[tuple[tuple[object, ...], int]] = [
        (("plan", study), 0),
        (("plan", study, "--json"), 0),
        (("status", study, "--json"), 0),
        (("report", study), 0),
        (("report", study, "--json"), 0),
        *((("query", study, f"select * from {table}"), 0) for table in tables),
        (("query", study, "select * from predictions limit 40", "--json"), 0),
        (("doctor", study, "--json"), 0),
        (("explain", study, failed), 0),
        (("explain", study, trial, "--json", "--order", out / "order.json"), 0),
        (("verify", study, "--retrain", 1, "--json"), 0),
        (("cohort", "check", study), 0),
        (("cohort", "predictions", study, "--trial", trial, "--out", out / "predictions.parquet"), 0),
        (("audit", "run", study), 0),
        (("audit", "sheet", study, "--out", out / "sheets", "--n", 8), 0),
        (("score", study, "--trial", trial, "--store", layout.root), 0),
        (("export", study, trial, "--to", out / "adapter", "--despite-membership", "a test"), 0),
        (("sync", study), 0),
        (("stop", study), 2),
        (("base", "check", study), 0),
        (("resume", layout.root), 0),
    ]
    for words, code in commands:
        ended = stage.command(*words)
        assert ended.code == code, (words, ended.output)


def test_what_was_planted_is_found_where_it_belongs(stage: Stage) -> None:
    """Else the search would prove nothing."""
    found = {place: tally.kinds for place, tally in stage.lookout.tallies.items() if place in DECLARED}
    as_written = set() if stage.cohort["source"] == "meds" else {"value"}  # there as the nearest float32
    assert {"identifier", "date", "note"} | as_written <= found["source tables"]
    assert {"identifier", "date", "teacher's reply"} <= found["store: inputs"]
    assert found["store: teacher-cache"] == {"teacher's reply"}
    assert {"identifier", "teacher's reply"} <= found["sheets and exports"]


def test_nothing_of_a_participant_is_found_elsewhere(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("", *table_of([stage.lookout]), sep="\n")  # noqa: T201  # for RESULTS.md
    elsewhere = {place: tally for place, tally in stage.lookout.tallies.items() if place not in DECLARED}
    assert {place: (tally.kinds, tally.paths) for place, tally in elsewhere.items() if tally.kinds} == {}
    looked = {place for place, tally in elsewhere.items() if tally.n_files}
    never = set(elsewhere) - looked
    assert never <= {"TMPDIR, all else", "HOME", "store: attempts", "store: orders", "Tune scratch"}, never


def test_pseudonyms_stay_with_the_predictions(stage: Stage) -> None:
    layout = stage.scene.layout
    tables = [pd.read_parquet(path) for path in layout.trials.glob("*/*/predictions.parquet")]
    pseudonyms = {name for table in tables for name in (*table["example_id"], *table["participant_id"])}
    needles = Needles(anywhere=frozenset(map(fold, pseudonyms)))
    assert len(search([layout.dataset], needles).hits) > 1
    # What `sweep query` was asked for stands in the logs of the commands.
    private = [layout.trials, layout.dataset, layout.inputs, *stage.folder.glob("log-*"), stage.folder / "out"]
    assert search([stage.folder, stage.lookout.temporary], needles, but=private).hits == {}


def test_a_purge_leaves_nothing_of_them_in_the_store(stage: Stage) -> None:
    """The last test of a stage: the search for all participants is the purge's own, that for canaries is ours."""
    assert search([stage.scene.layout.root], PLANTED).hits
    ended = stage.command("purge", stage.scene.study, "--yes")
    assert ended.code == 0, ended.output
    assert search([stage.scene.layout.root], PLANTED).hits == {}
    assert "would need the data again" in stage.command("plan", stage.scene.study).output
