"""`sweep purge`: asks, removes, proves, records; and says so where it can't."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchestrator.cli.main import app
from orchestrator.store.holding import hold_lock
from orchestrator.store.purging import last_purge
from workers.contract.errors import InputError, LockedError
from workers.contract.layout import StoreLayout


def sweep(command: str, layout: StoreLayout, *options: str) -> Result:
    arguments = [command, str(layout.root), *options]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_nobody_who_could_be_asked_is_refused_and_nothing_goes(layout: StoreLayout) -> None:
    with pytest.raises(InputError, match="--yes: is missing"):
        sweep("purge", layout)
    assert layout.trials.is_dir() and not layout.purges.exists()


def test_a_dry_run_says_what_would_go(layout: StoreLayout) -> None:
    facts = json.loads(sweep("purge", layout, "--dry-run", "--json").stdout)
    files = [path for path in layout.trials.rglob("*") if path.is_file()]
    assert facts["would_remove"] == {"trials": {"n_files": len(files), "n_bytes": sum(p.stat().st_size for p in files)}}
    assert facts["n_runs"] == 0
    assert layout.trials.is_dir() and not layout.purges.exists()


def test_a_purge_ends_in_a_record_and_the_plan_tells_of_it(layout: StoreLayout) -> None:
    done = sweep("purge", layout, "--yes", "--reason", "the agreement ended")
    assert done.exit_code == 0, done.output
    assert "none is left" in done.stdout
    record = last_purge(layout)
    assert record is not None and record.is_proven
    assert (record.by, record.reason) == (os.environ.get("USER", record.by), "the agreement ended")
    assert record.proof is not None and record.proof.n_pseudonyms > 80
    assert "`sweep run` would need the data again" in sweep("plan", layout).stdout
    assert "there is nothing to purge" in sweep("purge", layout, "--yes").stdout


def test_a_participant_that_is_left_ends_in_3_with_its_place(layout: StoreLayout) -> None:
    left = layout.root / "logs" / "a.log"
    left.parent.mkdir(exist_ok=True)
    left.write_text("bad row: participant-00007")
    table = next(layout.trials.glob("*/*/predictions.parquet"))
    assert table.is_file()
    done = sweep("purge", layout, "--yes", "--json")
    facts = json.loads(done.stdout)
    assert (done.exit_code, facts["exit_code"], facts["proof"]["hits"]) == (3, 3, {"logs/a.log": 1})


def test_a_store_that_somebody_drives_is_left_alone(layout: StoreLayout) -> None:
    with hold_lock(layout), pytest.raises(LockedError):
        sweep("purge", layout, "--yes")
    assert layout.trials.is_dir() and not layout.purges.exists()


def test_where_there_is_no_store_there_is_nothing_to_purge(tmp_path: Path, layout: StoreLayout) -> None:
    study = layout.root.parents[1] / "micro.yaml"
    with pytest.raises(InputError, match="is no store"):
        CliRunner().invoke(app, ["purge", str(study), "--store", str(tmp_path / "none")], catch_exceptions=False)
