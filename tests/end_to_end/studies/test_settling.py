"""What is derived of a finished study: one bit of damage is found, told of, and written again from the outcomes."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.audit.automatic import StudyAudit
from orchestrator.launch.launch import Launch
from orchestrator.launch.reporting import write_study_report
from orchestrator.launch.run import run_study
from orchestrator.store.derived import derived_damages, is_sound_page
from orchestrator.store.outcomes import read_store
from orchestrator.store.verification import check_derived
from orchestrator.study.study import load_sealed, sealed_text
from orchestrator.tracking.tracking import Tracking
from support.executors.in_process import InProcess
from support.stores.full import DESIGN, STUDY, full_store, rewrite
from support.stores.tracked import with_database
from workers.contract.errors import InputError
from workers.contract.layout import StoreLayout
from workers.contract.system.durable import replace_file

CHANGED = "is not what was written"


def run(layout: StoreLayout) -> None:
    """A launch of a study that lacks no trial."""
    console = Console(file=io.StringIO())
    launch = Launch(STUDY, DESIGN, layout, InProcess(n_slots=1), Tracking(layout), console)
    assert run_study(launch).exit_code == 0


def flip(path: Path) -> None:
    """One bit in the middle of a file."""
    half = path.stat().st_size // 2
    rewrite(path, lambda body: body[:half] + bytes([body[half] ^ 1]) + body[half + 1 :])


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> StoreLayout:
    layout = full_store(tmp_path_factory.mktemp("settled"))
    with_database(layout.root, empty_database)
    run(layout)
    return layout


def test_a_damaged_file_is_named_and_the_next_launch_writes_it_again(settled: StoreLayout) -> None:
    table = next(settled.dataset.glob("predictions/*/*.parquet"))
    derived = [table, settled.dataset_seal, settled.report, settled.tripod, settled.study]
    before = {path: path.read_bytes() for path in derived}
    assert derived_damages(settled) == {}
    damaged = (settled.report, settled.tripod, settled.study, table)
    for path in damaged:
        flip(path)
    names = {str(path.relative_to(settled.root)) for path in damaged}
    assert derived_damages(settled) == dict.fromkeys(names, CHANGED)
    assert {damage.name for damage in check_derived(settled).damages} == names
    run(settled)
    assert derived_damages(settled) == {}
    whole = settled.settled.read_text()
    for torn in (whole[: len(whole) // 2].encode(), b"\xff\x00", b""):
        settled.settled.write_bytes(torn)
        run(settled)
        assert settled.settled.read_text() == whole  # a torn answer is not given again
    assert {path: path.read_bytes() for path in derived} == before


def test_a_launch_leaves_alone_what_is_whole(settled: StoreLayout) -> None:
    derived = [settled.report, settled.study, settled.settled, settled.tracking_database, *settled.dataset.rglob("*")]
    before = {path: path.stat().st_mtime_ns for path in derived}
    run(settled)
    assert {path: path.stat().st_mtime_ns for path in derived} == before


def test_a_launch_that_finds_all_done_loads_nothing_that_trains_or_computes(settled: StoreLayout) -> None:
    probe = (
        "import atexit, sys; from orchestrator.cli.main import main; "
        "heavy = 'torch ray mlflow numpy scipy pandas sklearn statsmodels pyarrow duckdb matplotlib jinja2'.split(); "
        "atexit.register(lambda: print('loaded', [name for name in heavy if name in sys.modules])); main()"
    )
    command = [sys.executable, "-c", probe, "resume", str(settled.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded []"
    assert "is complete" in done.stdout


def test_what_is_older_than_checksums_is_taken_as_it_is_and_gets_them(settled: StoreLayout, tmp_path: Path) -> None:
    layout = StoreLayout(tmp_path)
    shutil.copytree(settled.trials, layout.trials)
    shutil.copytree(settled.dataset, layout.dataset)
    layout.dataset_seal.unlink()
    layout.study.write_text(STUDY.model_dump_json())
    layout.report.write_text("<html></html>")
    assert derived_damages(layout) == {}
    assert load_sealed(layout.study) == STUDY
    write_study_report(STUDY, DESIGN, layout, read_store(layout))
    assert layout.report.read_text().splitlines()[-1].startswith("<!-- sha256")
    flip(layout.report)
    assert not is_sound_page(layout.report.read_bytes())


def test_records_of_audits_are_sealed(tmp_path: Path) -> None:
    layout = StoreLayout(tmp_path)
    audit = StudyAudit(study="micro", is_synthetic=True, min_cell=11, rows=())
    replace_file(layout.audit, audit.sealed().model_dump_json(indent=1))
    assert derived_damages(layout) == {}
    rewrite(layout.audit, lambda body: body.replace(b"11", b"10"))
    assert derived_damages(layout) == {"audit.json": CHANGED}


def test_a_sealed_study_that_was_changed_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    stored = json.loads(sealed_text(STUDY))
    path.write_text(json.dumps(stored | {"question": "Another?"}))
    with pytest.raises(InputError, match=r"study.json: is not the study that was sealed; give the study file"):
        load_sealed(path)
