"""Files that are cut short, studies that are edited, disks that fill, clocks that are set back."""

import importlib.util
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.launches.fault_table import FaultTable
from support.launches.scenes import Scene
from support.launches.undisturbed import Baseline, assert_as_undisturbed, checksums, left_over, planned, table

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
# The store wants 200 MB free when a launch begins.
DISK_MIB = 300


def truncate(path: Path) -> None:
    """Half of it, as after a power cut."""
    body = path.read_bytes()
    path.write_bytes(body[: len(body) // 2])


@pytest.fixture
def finished(scene: Scene, baseline: Baseline) -> Scene:
    """A copy of the study that has run to its end, and knows that it lies elsewhere now."""
    shutil.rmtree(scene.layout.root)
    shutil.copytree(baseline.scene.layout.root, scene.layout.root)
    assert scene.run().code == 0
    return scene


def test_truncated_results_are_set_aside_and_computed_again(
    finished: Scene, baseline: Baseline, fault_table: FaultTable
) -> None:
    layout, before = finished.layout, checksums(finished.layout)
    torn, robbed, sound, *_ = sorted(before)
    truncate(layout.outcome(torn))
    truncate(layout.trial(robbed) / baseline.outcomes[robbed].attempt / "predictions.parquet")
    layout.attempts(sound).mkdir(parents=True)
    (layout.attempts(sound) / "1.json").write_text('{"trial_id": "')
    layout.lease(sound, "0a1b2c3d").write_text('{"host": "')
    for record in layout.leases.glob("driver-*.json"):
        truncate(record)
    began = time.monotonic()
    ended = finished.run()
    seconds = time.monotonic() - began
    assert ended.code == 0, ended.output
    after = checksums(layout)
    assert {name for name in before if before[name] != after[name]} == {torn, robbed}
    assert sorted(path.name for path in layout.quarantine.iterdir()) == sorted([f"{torn}-1.json", f"{robbed}-1.json"])
    assert_as_undisturbed(finished, baseline)
    happened = "an outcome, predictions, an attempt record, a lease, the driver's record: two quarantined and run again"
    fault_table.add("five files truncated", happened, recovery_s=seconds)


@pytest.mark.parametrize("name", ["dataset", "report.html", "settled", "study.json"])
def test_a_truncated_derived_file_is_written_again_without_running_a_trial(
    finished: Scene, baseline: Baseline, fault_table: FaultTable, name: str
) -> None:
    path = finished.layout.root / name
    if path.is_dir():
        path = next(path.glob("trials/*/*.parquet"))
    n_bytes = path.stat().st_size
    before = checksums(finished.layout)
    truncate(path)
    began = time.monotonic()
    ended = finished.run()
    seconds = time.monotonic() - began
    assert ended.code == 0, ended.output
    assert "running" not in ended.output
    assert checksums(finished.layout) == before
    assert path.stat().st_size == n_bytes
    assert_as_undisturbed(finished, baseline)
    fault_table.add(f"{name} truncated", "written again, nothing ran; seconds of the launch", recovery_s=seconds)


def test_a_torn_sealed_study_is_one_clear_error_to_resume_from(finished: Scene) -> None:
    truncate(finished.layout.study)
    shutil.move(finished.study, finished.folder / "elsewhere.yaml")
    ended = Scene(finished.layout.root).run(command="resume")
    assert ended.code == 2
    assert "Traceback" not in ended.output
    assert ended.output.startswith("error: ")
    assert "sealed study" in ended.output


def states(scene: Scene) -> dict[str, list[str]]:
    """Trial ids by state, as `sweep plan` says."""
    plan = planned(scene)
    found: dict[str, list[str]] = {}
    for trial in plan["trials"] + plan["controls"] + plan["left_over"]:
        found.setdefault(trial["state"], []).append(trial["trial_id"])
    return found


def edit(scene: Scene, **exchanges: tuple[str, str]) -> None:
    text = scene.study.read_text()
    for old, new in exchanges.values():
        assert old in text
        text = text.replace(old, new)
    scene.study.write_text(text)


def test_a_study_that_is_only_written_otherwise_runs_nothing(
    finished: Scene, baseline: Baseline, fault_table: FaultTable
) -> None:
    edit(
        finished,
        number=("3e-3", "0.003"),
        order=("seed: [1, 2, 3]", "seed: [3, 1, 2]"),
        formats=("supervision: [label_only, free_form]", "supervision:\n    - free_form\n    - label_only"),
        resources=("checkpoint_every_s: 0.5", "checkpoint_every_s: 5"),
    )
    assert states(finished).keys() == {"keep"}
    before = checksums(finished.layout)
    ended = finished.run()
    assert ended.code == 0, ended.output
    assert "running" not in ended.output
    assert checksums(finished.layout) == before
    assert_as_undisturbed(finished, baseline)
    fault_table.add("study reordered, 0.003 for 3e-3", "all kept, nothing ran", recovery_s=None)


def test_a_seed_that_is_added_runs_its_own_trials_only(finished: Scene, fault_table: FaultTable) -> None:
    before = checksums(finished.layout)
    edit(finished, seed=("seed: [1, 2, 3]", "seed: [1, 2, 3, 4]"))
    added = states(finished)["add"]
    assert len(added) == 2
    ended = finished.run()
    assert ended.code == 0, ended.output
    after = checksums(finished.layout)
    assert before.items() <= after.items()
    assert set(after) - set(before) == set(added)
    assert set(table(finished.layout, "trials")["trial_id"]) == set(after)
    assert left_over(finished.layout) == []
    fault_table.add("a seed added to the study", "its 2 trials ran, 8 were kept", recovery_s=None)


def test_a_changed_value_is_named_with_what_it_makes_stale(finished: Scene, fault_table: FaultTable) -> None:
    edit(finished, batch=("batch_size: 8", "batch_size: 4"))
    plan = planned(finished)
    stale = [item for item in plan["left_over"] if item["state"] == "stale"]
    assert len(stale) == 6
    assert all("changed: training.batch_size" in item["reason"] for item in stale)
    assert states(finished).keys() == {"add", "keep", "stale"}
    fault_table.add("batch_size changed", "6 stale, the field is named; the 2 controls are kept", recovery_s=None)


@pytest.fixture
def small_disk(new_scene: Callable[..., Scene], tmp_path: Path, baseline: Baseline) -> Iterator[Scene]:
    """A scene whose store lies on a disk of its own."""
    place = tmp_path / "store"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs"]
    mounted = subprocess.run(["mount", *options, str(place)], check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"needs root, to mount a small disk: {mounted.stderr.strip()}")
    scene = new_scene()
    try:
        yield scene
    finally:
        scene.end_all()
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def fill(ballast: Path) -> None:
    """Until nothing more fits."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**20))
        except OSError:
            pass
        try:
            while True:
                file.write(b"0" * 512)
        except OSError:
            pass


def test_a_disk_that_fills_ends_the_launch_and_nothing_half_written_counts(
    small_disk: Scene, baseline: Baseline, fault_table: FaultTable
) -> None:
    launch = small_disk.start()
    launch.until(lambda: small_disk.n_committed() and small_disk.resume_points(), what="one ended, another trains")
    ballast = small_disk.layout.root.parent / "ballast"
    began = time.monotonic()
    fill(ballast)
    ended = launch.end()
    seconds = time.monotonic() - began
    ballast.unlink()
    assert ended.code == 4, ended.output
    assert "Traceback" not in ended.output
    assert "disk" in ended.output
    kept = checksums(small_disk.layout)
    assert 0 < len(kept) < len(baseline.outcomes)
    assert not small_disk.layout.quarantine.exists()
    assert small_disk.run().code == 0
    assert kept.items() <= checksums(small_disk.layout).items()
    assert_as_undisturbed(small_disk, baseline)
    happened = f"{len(kept)} of 8 committed and kept, exit 4, says so; seconds until the launch ended"
    fault_table.add("disk full", happened, recovery_s=seconds)


def clock(folder: Path, offset: str) -> dict[str, str]:
    """An environment in which the time of day, and not the monotonic clock, is off by what a file says."""
    found = importlib.util.find_spec("libfaketime")
    if found is None or found.origin is None:
        pytest.skip("needs the package libfaketime")
    library = next(Path(found.origin).parent.rglob("libfaketime.so.1"))
    set_to(folder, offset)
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(folder / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def set_to(folder: Path, offset: str) -> None:
    fresh = folder / "clock-new"
    fresh.write_text(f"{offset}\n")
    fresh.rename(folder / "clock")


def test_a_clock_set_back_between_and_during_launches_changes_nothing(
    new_scene: Callable[..., Scene], tmp_path: Path, baseline: Baseline, fault_table: FaultTable
) -> None:
    scene = new_scene(environment=clock(tmp_path, "+0"))
    launch = scene.start()
    launch.until(lambda: scene.n_committed() and scene.resume_points(), what="one ended, another trains")
    launch.signal(signal.SIGTERM)
    assert launch.end().code == 5, launch.output
    kept = checksums(scene.layout)
    set_to(tmp_path, "-1h")
    launch = scene.start()
    launch.until(lambda: scene.n_committed() > len(kept) and scene.resume_points(), what="one more ended")
    set_to(tmp_path, "-2h")
    ended = launch.end()
    assert ended.code == 0, ended.output
    assert kept.items() <= checksums(scene.layout).items()
    began = [outcome.provenance.started_at for outcome in Baseline(scene).outcomes.values()]
    assert max(began) > min(began)
    assert_as_undisturbed(scene, baseline)
    happened = "one hour back between two launches and one more during the second: both went on as if nothing was"
    fault_table.add("clock set back twice", happened, recovery_s=None)
