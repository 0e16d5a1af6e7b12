"""What `sweep plan` prints is what every command takes, and a command that is told can be typed as it stands."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.explain.lookup import MIN_PREFIX, find_committed
from orchestrator.study.study import Study
from support.stores.odd_folders import ODD_FOLDERS
from support.studies.micro_study import write_study
from workers.contract.errors import InputError
from workers.contract.layout import StoreLayout


def run(*words: object) -> str:
    """What a command prints, or the sentence that it is refused with."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    return str(done.exception) if done.exception and not isinstance(done.exception, SystemExit) else done.stdout


def test_the_prefix_that_plan_prints_is_enough_for_every_command(layout: StoreLayout, tmp_path: Path) -> None:
    shown = next(line for line in run("plan", layout.root).splitlines() if "  keep  " in line).split()[0]
    assert len(shown) == 12
    trial_id = json.loads(run("explain", layout.root, shown, "--json"))["trial_id"]
    assert trial_id.startswith(shown)
    elsewhere = tmp_path / "nowhere" / "x.parquet"
    assert "nowhere is no folder" in run("cohort", "predictions", layout.root, "--trial", shown, "--out", elsewhere)
    assert find_committed(shown.upper(), [layout]) == (trial_id, layout)


def test_an_id_is_looked_for_in_every_store_and_the_first_that_has_it_counts(
    layout: StoreLayout, tmp_path: Path
) -> None:
    twin = StoreLayout(tmp_path / "twin")
    shutil.copytree(layout.root, twin.root)
    trial_id = sorted(path.name for path in layout.trials.iterdir())[0]
    empty = StoreLayout(tmp_path / "empty")
    assert find_committed(trial_id[:MIN_PREFIX], [empty, twin, layout]) == (trial_id, twin)


@pytest.mark.parametrize("command", ["explain", "score", "predictions"])
def test_an_id_that_is_short_unknown_or_of_several_is_refused_in_one_sentence(
    layout: StoreLayout, study: Study, tmp_path: Path, command: str
) -> None:
    def asked(prefix: str) -> str:
        words: dict[str, tuple[object, ...]] = {
            "explain": ("explain", layout.root, prefix),
            "score": ("score", tmp_path / "micro.yaml", "--trial", prefix, "--store", layout.root),
            "predictions": ("cohort", "predictions", layout.root, "--trial", prefix, "--out", tmp_path / "x.parquet"),
        }
        return run(*words[command])

    first = sorted(path.name for path in layout.trials.iterdir() if layout.outcome(path.name).is_file())[0]
    twin = first[:6] + ("0" if first[6] != "0" else "1") + first[7:]
    shutil.copytree(layout.trial(first), layout.trial(twin))
    assert "`abc` is too short; give at least 4 digits" in asked("abc")
    assert re.search(f"`{first[:6]}` may be 2 trials; give more of .*{first}.*", asked(first[:6]))
    assert "no trial's id begins with `ffffff`" in asked("ffffff")
    assert len(asked(first[:6]).splitlines()) == len(asked("ffffff").splitlines()) == 1


def test_find_committed_suggests_what_may_be_meant(layout: StoreLayout) -> None:
    trial_id = sorted(path.name for path in layout.trials.iterdir())[0]
    with pytest.raises(InputError, match=f"did you mean .*{trial_id}"):
        find_committed(trial_id[:-1] + "z", [layout])


@pytest.mark.parametrize("name", ["elsewhere", *ODD_FOLDERS[:6], "it's", "new\nline"])
def test_a_command_that_is_told_names_the_store_and_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir(parents=True)
    study = write_study(folder)
    monkeypatch.chdir(tmp_path)
    told = (run("plan", study, "--store", folder), run("report", study, "--store", folder))
    for text, after in zip(told, (" --plan …`", "` first"), strict=True):
        command = re.findall(f"`(sweep run [^`]*?){after}", text)[0]
        heard = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True)
        assert heard.stdout.split("\0")[:-1] == ["sweep", "run", str(study), "--store", str(folder)]


def test_a_command_that_is_told_stays_short_where_the_usual_store_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: StoreLayout
) -> None:
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path)
    assert "`sweep run micro.yaml --plan …`" in run("plan", "micro.yaml")
    assert "`sweep run store/micro --plan …`" in run("plan", "store/micro")
    waiting = run("plan", "micro.yaml").splitlines()[2].split()[0]
    advice = run("explain", "micro.yaml", waiting, "--store", "./store/../store")
    assert "`sweep run micro.yaml --store store/../store --only supervision=free_form" in advice
    assert "`sweep explain micro.yaml --store store/../store" in advice


def test_a_store_folder_beside_another_place_for_stores_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: StoreLayout
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("plan", "status", "run"):
        assert "says nothing beside a store folder" in run(command, "store/micro", "--store", "elsewhere")
