"""`sweep doctor`: each check finds what is wrong, by facts that a test gives; then the command on this machine."""

import errno
import io
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from safetensors.numpy import save_file

from orchestrator.design.grid import Design
from orchestrator.doctor import packages
from orchestrator.doctor.check import Grade, HealthCheck
from orchestrator.doctor.diagnosis import Diagnosis, diagnose
from orchestrator.doctor.machine import Capacity, check_machine, read_capacity
from orchestrator.doctor.packages import check_packages, check_python, check_worker, pinned_versions
from orchestrator.doctor.store import (
    FileSystem,
    check_clock,
    check_driver,
    check_folder,
    check_leftovers,
    check_outcomes,
)
from orchestrator.execution.on_ray.connection.local_ray import SessionFolder
from orchestrator.launch.forecast.needs import DiskForecast
from orchestrator.saying.terminal import Terminal
from orchestrator.store.hold_records import Holder, take_hold
from orchestrator.store.holding import hold_lock, lock_holder
from orchestrator.store.outcomes import quarantine, read_outcomes
from orchestrator.study.bases import StudyFolder
from orchestrator.study.resources import Resources
from orchestrator.study.study import Study, load_study
from support.launches.checkups import one, raising
from support.launches.command_line import refused
from support.launches.command_line import sweep_here as sweep
from support.stores.builders import build_store
from support.studies.micro_study import write_study
from workers.contract.answers.readiness import Gpu, Readiness
from workers.contract.answers.sketches import Sketched
from workers.contract.errors import ClusterError, SweepError
from workers.contract.layout import StoreLayout
from workers.contract.system.sources import digest_of_place
from workers.requests.bases import sketch_bases

MIB, GB = 2**20, 10**9
ROOMY = Capacity(
    cores=4,
    memory_available=16_000 * MIB,
    memory_limit=None,
    shm_total=1_000 * MIB,
    tmp_free=90 * GB,
    tmp_total=100 * GB,
    open_files=65_536,
    sessions=SessionFolder(Path("/tmp")),
)


@pytest.fixture
def layout(study: Study, design: Design, tmp_path: Path) -> StoreLayout:
    """A store with every trial, nobody else may enter."""
    layout = build_store(tmp_path / "store", study, design, n_participants=80)
    layout.root.chmod(0o700)
    layout.study.write_text(study.model_dump_json())
    return layout


class TestPackages:
    NEEDS = (Requirement("torch"), Requirement("pydantic>=2"))

    def grade(self, installed: Mapping[str, str], pins: Mapping[str, str]) -> HealthCheck:
        return check_packages(self.NEEDS, installed.get, {name: SpecifierSet(pin) for name, pin in pins.items()})

    def test_pinned_versions_are_well_whatever_build_they_are(self) -> None:
        found = self.grade({"torch": "2.13.0+cpu", "pydantic": "2.12.0"}, {"torch": "==2.13.0", "pydantic": "==2.12.0"})
        assert found.grade is Grade.OK

    def test_another_version_than_the_pinned_one_is_a_warning_that_names_both(self) -> None:
        found = self.grade({"torch": "2.12.1", "pydantic": "2.12.0"}, {"torch": "==2.13.0"})
        assert (found.grade, found.what) == (
            Grade.WARN,
            "other versions than the pinned ones: torch 2.12.1 (pinned ==2.13.0)",
        )

    def test_a_missing_package_and_one_that_is_too_old_fail(self) -> None:
        assert self.grade({"pydantic": "2.12.0"}, {}).what == "not installed: torch"
        assert self.grade({"torch": "2.13.0", "pydantic": "1.10"}, {}).grade is Grade.FAIL

    def test_an_old_python_fails(self) -> None:
        assert check_python("3.10.4", required=">=3.11").grade is Grade.FAIL
        assert check_python("3.13.0rc1", required=">=3.11").grade is Grade.OK

    def test_code_that_was_not_installed_is_told_so_and_is_no_fault(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packages, "PROJECT", "a-name-that-nobody-installed")
        found = [
            check_python("3.12.3", required=packages.required_python()),
            check_packages(packages.required_packages(), packages.installed_version, {}),
        ]
        assert [one.grade for one in found] == [Grade.WARN, Grade.WARN]
        assert all(packages.NOT_INSTALLED in one.what for one in found)

    def test_pins_are_read_with_their_comments_aside_and_are_none_without_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "constraints.txt").write_text("# why\nruamel.yaml==0.19.1  # so\n\n")
        assert pinned_versions(tmp_path / "constraints.txt") == {"ruamel-yaml": SpecifierSet("==0.19.1")}
        assert pinned_versions(tmp_path / "absent.txt") == {}


class TestWorker:
    def test_a_library_that_does_not_import_fails_by_name(self) -> None:
        checks = list(check_worker(lambda: Readiness(broken={"deepspeed": "ImportError"}), has_gpu_device=False))
        assert one(checks, "worker").what == "can't import deepspeed (ImportError)"
        assert one(checks, "gpu").grade is Grade.OK

    def test_a_worker_that_says_nothing_fails(self) -> None:
        def silent() -> Readiness:
            raise SweepError("it ended with code -9")

        (found,) = check_worker(silent, has_gpu_device=False)
        assert (found.grade, "code -9" in found.what) == (Grade.FAIL, True)

    @pytest.mark.parametrize(
        ("gpus", "has_device", "grade"),
        [
            ((Gpu(name="H100", total_gib=79, free_gib=78),), True, Grade.OK),
            ((Gpu(name="H100", total_gib=0, free_gib=0, error="RuntimeError"),), True, Grade.FAIL),
            ((), True, Grade.WARN),
            ((), False, Grade.OK),
        ],
    )
    def test_a_gpu_must_compute_and_be_seen(self, gpus: tuple[Gpu, ...], has_device: bool, grade: Grade) -> None:
        assert one(check_worker(lambda: Readiness(gpus=gpus), has_gpu_device=has_device), "gpu").grade is grade


class TestMachine:
    @pytest.mark.parametrize(
        ("changes", "name", "grade"),
        [
            ({"cores": 0.5}, "cores", Grade.FAIL),
            ({"memory_available": 500 * MIB}, "memory", Grade.FAIL),
            ({"memory_available": 3_000 * MIB}, "memory", Grade.WARN),
            ({"memory_limit": 2_000 * MIB, "memory_available": 900 * MIB}, "memory", Grade.FAIL),
            ({"shm_total": 64 * MIB}, "/dev/shm", Grade.WARN),
            ({"tmp_free": 4 * GB}, "/tmp", Grade.WARN),
            ({"tmp_free": GB // 10}, "/tmp", Grade.FAIL),
            ({"open_files": 1_024}, "open files", Grade.WARN),
            ({"sessions": SessionFolder(Path("/tmp"), "TMPDIR: /far/off is too long")}, "sessions", Grade.WARN),
            ({"sessions": ClusterError("RAY_TMPDIR: x is no folder; point it to one")}, "sessions", Grade.FAIL),
            ({"home": Path("/")}, "home", Grade.WARN),
            ({"encoding": "iso-8859-1"}, "output", Grade.WARN),
        ],
    )
    def test_what_is_too_little_is_found(self, changes: dict[str, object], name: str, grade: Grade) -> None:
        here = Capacity(**(vars(ROOMY) | changes))
        found = list(check_machine(here, [Resources()], peak_mib=None))
        assert one(found, name).grade is grade and one(found, name).remedy
        assert [check.name for check in found if check.grade is not Grade.OK] == [name]

    def test_the_encoding_is_that_of_the_output_also_while_a_terminal_shows_what_goes_on(self) -> None:
        with Terminal(file=io.StringIO(), force_terminal=True).status("looking around"):
            found = read_capacity().encoding
        assert sys.__stdout__ is not None and found == sys.__stdout__.encoding.lower()

    def test_a_roomy_machine_is_well(self) -> None:
        assert {check.grade for check in check_machine(ROOMY, [Resources()], peak_mib=900.0)} == {Grade.OK}

    def test_what_trials_were_measured_to_take_counts_where_there_is_such_a_measurement(self) -> None:
        found = one(check_machine(ROOMY, [Resources()], peak_mib=20_000.0), "memory")
        assert found.grade is Grade.FAIL and "was measured to take 20,000 MiB" in found.what


class TestFolder:
    def test_a_good_folder_is_well_and_nothing_stays_in_it(self, layout: StoreLayout) -> None:
        before = sorted(layout.root.rglob("*"))
        assert {check.grade for check in check_folder(layout)} == {Grade.OK}
        assert sorted(layout.root.rglob("*")) == before

    def test_a_store_that_is_not_there_yet_is_not_made(self, tmp_path: Path) -> None:
        assert "far/off will be made" in one(check_folder(StoreLayout(tmp_path / "far" / "off")), "store").what
        assert list(tmp_path.iterdir()) == []

    def test_a_file_in_its_place_fails(self, tmp_path: Path) -> None:
        (tmp_path / "store").touch()
        assert one(check_folder(StoreLayout(tmp_path / "store" / "micro")), "store").grade is Grade.FAIL

    @pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
    def test_a_file_system_without_hard_links_fails(self, layout: StoreLayout, number: int) -> None:
        found = one(check_folder(layout, system=FileSystem(link=raising(number))), "hard links")
        assert found.grade is Grade.FAIL and os.strerror(number) in found.what

    def test_one_whose_links_replace_what_is_there_fails(self, layout: StoreLayout) -> None:
        def replace(source: Path, target: Path) -> None:
            target.write_bytes(source.read_bytes())

        assert one(check_folder(layout, system=FileSystem(link=replace)), "hard links").grade is Grade.FAIL

    def test_one_without_locks_is_a_warning(self, layout: StoreLayout) -> None:
        def all_may(_: IO[bytes], __: int) -> None:
            return None

        for flock in (raising(errno.ENOLCK), all_may):
            assert one(check_folder(layout, system=FileSystem(flock=flock)), "locks").grade is Grade.WARN

    def test_one_that_keeps_nothing_and_one_that_is_full_fail(self, layout: StoreLayout) -> None:
        broken = one(check_folder(layout, system=FileSystem(sync=raising(errno.EIO))), "store")
        full = one(check_folder(layout, system=FileSystem(sync=raising(errno.ENOSPC))), "store")
        assert (broken.grade, full.grade, full.remedy) == (
            Grade.FAIL,
            Grade.FAIL,
            "free space there, or raise the quota",
        )

    @pytest.mark.parametrize(
        ("free", "need", "grade"),
        [
            (GB // 10, None, Grade.FAIL),
            (3 * GB, 5 * GB, Grade.FAIL),
            (6 * GB, 5 * GB, Grade.WARN),
            (11 * GB, 5 * GB, Grade.OK),
        ],
    )
    def test_a_disk_with_less_than_is_needed_fails_and_one_with_hardly_enough_warns(
        self, layout: StoreLayout, free: int, need: int | None, grade: Grade
    ) -> None:
        forecast = DiskForecast(need, 2 * need, n_measured=20) if need else None
        found = one(check_folder(layout, forecast=forecast, system=FileSystem(disk_free=lambda _: free)), "disk")
        assert found.grade is grade

    def test_a_store_that_others_may_enter_is_a_warning(self, layout: StoreLayout) -> None:
        layout.root.chmod(0o755)
        assert "closes it" in one(check_folder(layout), "privacy").remedy
        layout.root.chmod(0o2770)  # shared with a group, as its owner asked
        assert not [check for check in check_folder(layout) if check.name == "privacy"]


class TestStore:
    def test_outcomes_that_are_torn_or_lack_files_are_counted(self, layout: StoreLayout, design: Design) -> None:
        assert check_outcomes(layout, read_outcomes(layout), design).grade is Grade.OK
        first, second, *_ = (trial.trial_id for trial in design.trials)
        layout.outcome(first).write_text("{")
        (layout.trial(second) / "attempt-1" / "predictions.parquet").unlink()
        found = check_outcomes(layout, read_outcomes(layout), design)
        assert found.grade is Grade.WARN and "1 can't be trusted, 1 lack files" in found.what
        quarantine(layout, read_outcomes(layout))
        moved = check_outcomes(layout, read_outcomes(layout), design)
        assert (moved.grade, "2 in quarantine, 2 of them of the design" in moved.what) == (Grade.OK, True)

    def test_leftovers_that_a_launch_removes_are_counted(self, layout: StoreLayout, design: Design) -> None:
        old = layout.root / ".tmp-another-1-abc"
        old.touch()
        os.utime(old, (1e9, 1e9))
        assert check_leftovers(layout, read_outcomes(layout), design).what == "1, which the next launch removes"
        (layout.all_checkpoints / "my-notes").mkdir(parents=True)
        found = check_leftovers(layout, read_outcomes(layout), design)
        assert (found.grade, "checkpoints/my-notes is nothing of ours, and stays" in found.what) == (Grade.WARN, True)

    def test_a_driver_and_a_dead_one_are_seen(self, layout: StoreLayout) -> None:
        assert check_driver(layout, lock_holder(layout)).what == "none"
        with hold_lock(layout):
            found = check_driver(layout, lock_holder(layout))
            assert (found.grade, f"pid {os.getpid()}" in found.what) == (Grade.WARN, True)
        take_hold(layout, 99, Holder(host="node-9", pid=1, since="2026-01-05T09:00:00+00:00"))
        assert "cut off" in check_driver(layout, None).what

    def test_a_store_from_the_future_is_a_warning(self, layout: StoreLayout) -> None:
        assert check_clock(layout, now=time.time()).grade is Grade.OK
        assert check_clock(layout, now=time.time() - 3_600).grade is Grade.WARN


class TestWhole:
    def test_one_failure_makes_the_exit_code(self) -> None:
        checks = [HealthCheck(name="a", grade=grade, what="") for grade in Grade]
        assert Diagnosis(checks=tuple(checks)).exit_code == 3
        assert Diagnosis(checks=tuple(checks[:2])).exit_code == 0

    def test_a_table_with_another_digest_fails_by_its_place_in_the_study(self, tmp_path: Path) -> None:
        study = load_study(write_study(tmp_path, sha256="a" * 64))
        layout = StoreLayout(tmp_path / "store" / "micro")
        found = diagnose(study, layout, ask_worker=Readiness, ask_bases=lambda _: Sketched(), start_ray=str)
        assert one(list(found.checks), "sources: cohort.sha256").grade is Grade.FAIL

    @pytest.mark.parametrize(
        ("max_new_tokens", "name", "grade", "what"),
        [
            (48, "bases.micro", Grade.OK, "256 tokens of context, 5 of them for an answer line"),
            (4, "evaluation.max_new_tokens", Grade.FAIL, "4 is shorter than .* target, 5 tokens on base micro"),
            (4000, "bases.micro", Grade.FAIL, "an answer alone takes up to 4005 tokens, the base holds 256"),
        ],
    )
    def test_configuration_and_tokenizer_of_a_base_are_read_and_compared_with_the_answer(
        self, max_new_tokens: int, name: str, grade: Grade, what: str, study: Study, tmp_path: Path
    ) -> None:
        evaluation = study.evaluation.model_copy(update={"max_new_tokens": max_new_tokens})
        asked = study.model_copy(update={"evaluation": evaluation})
        layout = StoreLayout(tmp_path / "micro")
        found = diagnose(asked, layout, ask_worker=Readiness, ask_bases=sketch_bases, start_ray=str)
        check = one(list(found.checks), name)
        assert check.grade is grade
        assert re.search(what, check.what)

    def test_a_base_whose_tokenizer_cannot_be_read_fails_by_its_name(self, study: Study, tmp_path: Path) -> None:
        place = tmp_path / "model"
        place.mkdir()
        (place / "config.json").write_text('{"model_type": "llama"}')
        (place / "tokenizer.json").write_text("{}")
        save_file({"w": np.zeros(1, dtype=np.float32)}, place / "model.safetensors")
        base = StudyFolder(kind="folder", folder=place, sha256=digest_of_place(place))
        asked = study.model_copy(update={"bases": {"micro": base}})
        layout = StoreLayout(tmp_path / "micro")
        found = diagnose(asked, layout, ask_worker=Readiness, ask_bases=sketch_bases, start_ray=str)
        check = one(list(found.checks), "bases.micro")
        assert check.grade is Grade.FAIL
        assert f"the tokenizer in {place} can't be read" in check.what

    def test_without_a_study_it_looks_at_the_machine_and_a_dead_cluster_ends_with_3(self) -> None:
        found = diagnose(address="127.0.0.1:9", ask_worker=Readiness, start_ray=str)
        dead = one(list(found.checks), "cluster")
        assert (found.exit_code, dead.grade) == (3, Grade.FAIL)
        assert "ray start --head" in dead.remedy

    def test_a_ray_that_does_not_start_fails_with_its_reason(self) -> None:
        found = diagnose(ask_worker=Readiness, start_ray=lambda: "a local Ray could not be started (it ended); see x")
        ray = one(list(found.checks), "ray")
        assert (ray.grade, ray.what, ray.remedy) == (
            Grade.FAIL,
            "a local Ray could not be started (it ended)",
            "see x",
        )

    def test_a_study_that_is_none_is_refused(self, tmp_path: Path) -> None:
        refused(sweep("doctor", tmp_path / "absent.yaml", cwd=tmp_path))
