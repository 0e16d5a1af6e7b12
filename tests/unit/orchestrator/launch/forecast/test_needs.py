"""What a launch will take: disk, measured on what is committed, and rationales, on what was written."""

from pathlib import Path

import pytest

from orchestrator.design.grid import Design, expand
from orchestrator.design.plan import Plan, make_plan
from orchestrator.launch.forecast.needs import (
    DiskForecast,
    TeachingForecast,
    forecast_disk,
    forecast_teaching,
    free_bytes,
)
from orchestrator.store.folder import MIN_FREE_BYTES
from orchestrator.store.outcomes import read_seals
from orchestrator.study.study import load_study
from support.places import SWEEPS
from support.stores.builders import ATTEMPT, build_store
from support.studies.orders import micro_spec, micro_training
from workers.contract.errors import StoreError
from workers.contract.inputs import InputKind, Manifest, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.recipes.teaching import EndpointTeacherRecipe, Supervision
from workers.contract.trial import DiagnosticsRecipe, TrialSpec

STUDY = load_study(SWEEPS / "quickstart.yaml")
DESIGN = expand(STUDY)
SMALL = Design(trials=DESIGN.trials[:5], controls=())
IDS = [trial.trial_id for trial in SMALL.trials]
MB = 1_000_000
FREE_FORM, STEP_BY_STEP = Supervision.FREE_FORM, Supervision.STEP_BY_STEP


def plan_of(layout: StoreLayout, design: Design = SMALL) -> Plan:
    return make_plan(design, read_seals(layout), {}, study=STUDY.study)


def store_of(folder: Path, *, missing: list[str], sizes: dict[str, int]) -> StoreLayout:
    """Committed trials with so many megabytes of adapter each."""
    layout = build_store(folder, STUDY, SMALL, missing=missing, n_participants=60)
    for trial_id, size in sizes.items():
        (layout.trial(trial_id) / ATTEMPT / "adapter.bin").write_bytes(b"x" * size * MB)
    return layout


class TestMeasured:
    def test_nothing_missing_needs_nothing(self, tmp_path: Path) -> None:
        layout = build_store(tmp_path, STUDY, SMALL, n_participants=60)
        assert forecast_disk(plan_of(layout), layout) == DiskForecast(0, 0, 0)

    def test_an_empty_store_is_asked_for_the_floor_alone(self, tmp_path: Path) -> None:
        layout = StoreLayout(tmp_path)
        assert forecast_disk(plan_of(layout), layout) == DiskForecast(MIN_FREE_BYTES, MIN_FREE_BYTES, 0)

    def test_a_missing_trial_takes_what_those_of_its_kind_took_and_at_most_what_the_largest_did(
        self, tmp_path: Path
    ) -> None:
        layout = store_of(tmp_path, missing=IDS[3:], sizes={IDS[0]: 1, IDS[1]: 2, IDS[2]: 6})
        found = forecast_disk(plan_of(layout), layout)
        assert found.n_measured == 3
        assert found.need_bytes == pytest.approx(MIN_FREE_BYTES + 2 * 3 * MB, abs=100_000)
        assert found.most_bytes == pytest.approx(MIN_FREE_BYTES + 2 * 6 * MB, abs=100_000)

    def test_a_trial_of_a_kind_never_seen_takes_what_the_largest_took(self, tmp_path: Path) -> None:
        layout = store_of(tmp_path, missing=IDS[3:], sizes={IDS[0]: 1, IDS[1]: 1, IDS[2]: 4})
        control = next(trial for trial in DESIGN.controls if trial.spec.base is None)
        plan = plan_of(layout, Design(trials=SMALL.trials[:3], controls=(control,)))
        found = forecast_disk(plan, layout)
        assert found.need_bytes == found.most_bytes == pytest.approx(MIN_FREE_BYTES + 4 * MB, abs=100_000)

    def test_what_a_trial_scored_on_another_cohort_is_not_counted(self, tmp_path: Path) -> None:
        layout = store_of(tmp_path, missing=IDS[4:], sizes={})
        before = forecast_disk(plan_of(layout), layout)
        transfer = layout.transfer(IDS[0], "c" * 16)
        transfer.parent.mkdir(parents=True)
        transfer.write_bytes(b"x" * 10 * MB)
        assert forecast_disk(plan_of(layout), layout).need_bytes == pytest.approx(before.need_bytes, abs=10_000)

    def test_trials_that_an_edited_study_left_behind_are_measured_too(self, tmp_path: Path) -> None:
        layout = store_of(tmp_path, missing=IDS[1:], sizes={IDS[0]: 3})
        found = forecast_disk(plan_of(layout, Design(trials=SMALL.trials[1:], controls=())), layout)
        assert (found.n_measured, round((found.need_bytes - MIN_FREE_BYTES) / MB)) == (1, 4 * 3)

    def test_the_dataset_grows_with_the_trials_and_is_there_twice_while_it_is_written(self, tmp_path: Path) -> None:
        layout = store_of(tmp_path, missing=IDS[3:], sizes={})
        before = forecast_disk(plan_of(layout), layout).need_bytes
        layout.dataset.mkdir()
        (layout.dataset / "part.parquet").write_bytes(b"x" * 3 * MB)
        after = forecast_disk(plan_of(layout), layout).need_bytes
        assert after - before == pytest.approx(3 * MB + 2 * MB, abs=20_000)

    def test_tracking_elsewhere_takes_nothing_here(self, tmp_path: Path) -> None:
        layout = store_of(tmp_path, missing=IDS[3:], sizes={})
        layout.tracking_database.write_bytes(b"x" * 3 * MB)
        here, elsewhere = (
            forecast_disk(plan_of(layout), layout, tracks_here=here).need_bytes for here in (True, False)
        )
        assert here - elsewhere == pytest.approx(2 * MB, abs=20_000)

    def test_a_narrowed_launch_needs_what_its_own_trials_need(self, tmp_path: Path) -> None:
        layout = store_of(tmp_path, missing=IDS[2:], sizes={IDS[0]: 2, IDS[1]: 2})
        plan = plan_of(layout)
        one = forecast_disk(plan, layout, chosen=plan.todo[:1])
        assert forecast_disk(plan, layout).need_bytes - one.need_bytes == pytest.approx(2 * 2 * MB, abs=100_000)


class TestWords:
    FOUND = DiskForecast(1_240_000_000, 1_600_000_000, n_measured=20)

    def test_one_line_tells_need_basis_floor_and_room(self) -> None:
        assert self.FOUND.told(free_bytes=67_300_000_000) == (
            "needs about 1.2 GB (up to 1.6 GB; measured on 20 trials, 200.0 MB to spare), 67.3 GB free"
        )
        assert DiskForecast(MIN_FREE_BYTES, MIN_FREE_BYTES, 0).told(free_bytes=67_300_000_000) == (
            "needs at least 200.0 MB (no trial is committed yet to measure by), 67.3 GB free"
        )

    def test_a_disk_without_room_is_refused_with_figures_and_a_remedy(self) -> None:
        self.FOUND.refuse_too_little(free_bytes=1_240_000_000, place="store/x")
        with pytest.raises(StoreError, match=r"store/x: 1.0 GB free, about 1.2 GB .* are needed; .* another --store"):
            self.FOUND.refuse_too_little(free_bytes=1_000_000_000, place="store/x")


def test_room_is_asked_of_the_nearest_folder_that_is_there(tmp_path: Path) -> None:
    assert free_bytes(StoreLayout(tmp_path / "not" / "yet")) == pytest.approx(
        free_bytes(StoreLayout(tmp_path)), rel=0.1
    )


def taught(supervision: Supervision, size: int | None, *, version: int = 2, **changes: object) -> TrialSpec:
    teacher = EndpointTeacherRecipe(kind="endpoint", model="m", max_tokens=100, version=version)
    return micro_spec(supervision, **{"train_size": size, "teacher": teacher, **changes})


def write_manifest(spec: TrialSpec, kind: InputKind, layout: StoreLayout, **counts: int) -> None:
    recipe = input_recipes(spec)[kind]
    path = layout.manifest(recipe.digest())
    path.parent.mkdir(parents=True)
    path.write_text(Manifest(recipe=recipe, folder="made", files={}, counts=dict(counts)).sealed().model_dump_json())


SPECS = [taught(kind, size) for kind in (FREE_FORM, STEP_BY_STEP) for size in (16, 32)]


class TestTeaching:
    def test_nested_train_sizes_are_written_once(self, tmp_path: Path) -> None:
        found = forecast_teaching([*SPECS, micro_spec()], StoreLayout(tmp_path))
        assert found == TeachingForecast(n_questions=64, n_tokens=6400, n_measured=0, is_open=False)

    def test_another_draw_is_written_by_itself_and_a_blind_probe_too(self, tmp_path: Path) -> None:
        probed = micro_training(diagnostics=DiagnosticsRecipe(n_probe=6))
        specs = [SPECS[0], taught(FREE_FORM, 16, training_draw=1), taught(STEP_BY_STEP, 16, training=probed)]
        found = forecast_teaching(specs, StoreLayout(tmp_path))
        assert found is not None
        assert found.n_questions == 16 + 16 + 22

    def test_what_is_there_is_left_out_and_measured(self, tmp_path: Path) -> None:
        layout = StoreLayout(tmp_path)
        counts = {"n_requested": 16, "prompt_tokens": 1600, "completion_tokens": 160}
        write_manifest(SPECS[0], InputKind.RATIONALES, layout, **counts)
        found = forecast_teaching(SPECS, layout)
        assert found == TeachingForecast(n_questions=48, n_tokens=48 * 110, n_measured=16, is_open=False)
        assert forecast_teaching(SPECS[:1], layout) is None

    @pytest.mark.parametrize(("version", "n_questions"), [(1, 2 * (100 + 10)), (2, 100)])
    def test_a_whole_split_is_counted_once_it_is_known(self, version: int, n_questions: int, tmp_path: Path) -> None:
        spec, layout = taught(FREE_FORM, None, version=version), StoreLayout(tmp_path)
        before = forecast_teaching([spec], layout)
        assert before is not None
        assert before.is_open
        assert "counted once the cohort is prepared" in str(before)
        write_manifest(spec, InputKind.COHORT, layout, train_n_examples=100, tuning_n_examples=10)
        after = forecast_teaching([spec], layout)
        assert after == TeachingForecast(n_questions, 100 * n_questions, n_measured=0, is_open=False)

    def test_templates_cost_nothing(self, tmp_path: Path) -> None:
        assert forecast_teaching([trial.spec for trial in DESIGN.everything], StoreLayout(tmp_path)) is None
