"""How much disk a launch will take: the sum, its range, and what it is read from."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.design.grid import Design, expand
from orchestrator.design.plan import Plan, make_plan
from orchestrator.launch.disk_facts import N_MEASURED, free_bytes, read_disk_facts
from orchestrator.launch.forecast import Amount, DiskFacts, DiskForecast, Kind, forecast_disk, lora_bytes, spelled_bytes
from orchestrator.store.outcomes import read_seals
from orchestrator.study.study import Study, load_study
from support.places import SWEEPS
from support.stores.builders import build_store, cohort_counts
from workers.contract.errors import StoreError
from workers.contract.inputs import InputKind, Manifest, input_recipes
from workers.contract.layout import StoreLayout

STUDY = load_study(SWEEPS / "quickstart.yaml")
DESIGN = expand(STUDY)
SMALL = Design(trials=DESIGN.trials[:5], controls=())
LORA = Kind("lora", "tiny", n_steps=100, adapter_bytes=80_000)
SMOLLM2 = {
    "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64,
}  # fmt: skip
PHI = {
    "model_type": "phi", "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip


def plan_of(layout: StoreLayout, study: Study = STUDY, design: Design = DESIGN) -> Plan:
    return make_plan(design, read_seals(layout), {}, study=study.study)


def prepare(
    layout: StoreLayout, kind: InputKind, *, counts: dict[str, int], config: dict[str, object] | None = None
) -> None:
    """As if one input of the first trial had been prepared."""
    recipe = input_recipes(DESIGN.trials[0].spec)[kind]
    manifest = Manifest(recipe=recipe, folder="0a1b2c3d", files={}, counts={**counts})
    path = layout.manifest(recipe.digest())
    (path.parent / "0a1b2c3d").mkdir(parents=True)
    path.write_text(manifest.model_dump_json())
    if config is not None:
        (path.parent / "0a1b2c3d" / "config.json").write_text(json.dumps(config))


class TestSum:
    def test_nothing_missing_needs_nothing(self) -> None:
        assert forecast_disk(DiskFacts(missing={})) == DiskForecast(0, 0, 0, "nothing is missing")

    def test_trials_of_a_measured_kind_need_what_those_before_took(self) -> None:
        """No adapter, no tracking and no rows, so that nothing else is in the sum."""
        kind = Kind("prevalence", "")
        facts = DiskFacts({kind: 10}, measured={kind: [90, 100, 110]}, n_rows=Amount(), tracking_ratio=0.0)
        assert forecast_disk(facts) == DiskForecast(1000, 900, 1100, "measured on 3 trials")

    def test_one_measured_trial_says_less_than_three_and_shapes_say_least(self) -> None:
        facts = DiskFacts({LORA: 10}, n_rows=Amount(), tracking_ratio=0.0)
        three = forecast_disk(replace(facts, measured={LORA: [100_000] * 3}))
        one = forecast_disk(replace(facts, measured={LORA: [100_000]}))
        none = forecast_disk(facts)
        assert one.need_bytes == three.need_bytes
        assert three.high - three.low < one.high - one.low < none.high - none.low
        assert none.basis == "from shapes"

    def test_a_mixture_says_how_many_are_guessed(self) -> None:
        facts = DiskFacts({LORA: 2, Kind("zero_shot", "tiny"): 3}, measured={LORA: [1, 2]}, n_rows=Amount())
        assert forecast_disk(facts).basis == "measured on 2 trials, 3 from shapes"

    def test_every_slot_keeps_its_resume_points_but_no_more_than_there_are_trials(self) -> None:
        facts = DiskFacts({LORA: 3}, measured={LORA: [0, 0]}, n_rows=Amount(), tracking_ratio=0.0, n_slots=2)
        dataset = forecast_disk(replace(facts, missing={replace(LORA, adapter_bytes=0): 3}, measured={})).need_bytes
        assert dataset
        need = [forecast_disk(replace(facts, n_slots=n)).need_bytes for n in (1, 2, 3, 99)]
        one = 9 * 80_000
        assert [after - need[0] for after in need] == [0, one, 2 * one, 2 * one]
        assert forecast_disk(facts).low < one

    def test_what_is_not_known_is_named_and_not_counted(self) -> None:
        facts = DiskFacts({replace(LORA, adapter_bytes=None): 1}, unknown=("base tiny",))
        found = forecast_disk(facts)
        assert found.unknown == ("base tiny", "predictions, as the cohort is not prepared", "adapters on tiny")
        assert "; not counted: base tiny, predictions" in found.told(free_bytes=1)

    def test_the_range_holds_the_middle(self) -> None:
        for ratio in (None, 0.0, 0.7):
            found = forecast_disk(DiskFacts({LORA: 7}, n_rows=Amount.guess(500), tracking_ratio=ratio))
            assert 0 <= found.low <= found.need_bytes <= found.high


class TestWords:
    def test_one_line_tells_need_range_basis_and_room(self) -> None:
        found = DiskForecast(1_240_000_000, 900_000_000, 1_600_000_000, "measured on 20 trials")
        assert found.told(free_bytes=67_300_000_000) == (
            "needs about 1.2 GB (900 MB to 1.6 GB; measured on 20 trials), 67 GB free"
        )

    def test_a_disk_without_room_is_refused_with_figures_and_a_remedy(self) -> None:
        found = DiskForecast(1_240_000_000, 900_000_000, 1_600_000_000, "from shapes")
        found.refuse_too_little(free_bytes=1_240_000_000, place="store/x")
        with pytest.raises(StoreError, match=r"store/x: 1.0 GB free, about 1.2 GB are needed .*choose another --store"):
            found.refuse_too_little(free_bytes=1_000_000_000, place="store/x")

    @pytest.mark.parametrize(
        ("n", "text"), [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (12e6, "12 MB"), (3.2e12, "3.2 TB")]
    )
    def test_sizes_are_spelled_in_two_digits(self, n: float, text: str) -> None:
        assert spelled_bytes(n) == text


class TestShapes:
    """Files that peft wrote on these bases: 9,824,440 and 65,946 bytes with configuration and headers."""

    @pytest.mark.parametrize(("config", "found"), [(SMOLLM2, 9_824_440), (PHI, 65_946)])
    def test_an_adapter_is_as_large_as_its_layers_say(self, config: dict[str, object], found: int) -> None:
        weights = lora_bytes(config, rank=8)
        assert weights is not None
        assert found * 0.9 < weights < found

    def test_a_configuration_that_says_too_little_gives_no_number(self) -> None:
        assert lora_bytes({"n_embd": 768}, rank=8) is None
        assert lora_bytes({**SMOLLM2, "hidden_size": "many"}, rank=8) is None


class TestFacts:
    def test_a_finished_store_needs_nothing(self, tmp_path: Path) -> None:
        layout = build_store(tmp_path, STUDY, SMALL, n_participants=60)
        facts = read_disk_facts(STUDY, plan_of(layout, design=SMALL), layout)
        assert facts.missing == {}
        assert forecast_disk(facts).need_bytes == 0

    def test_committed_trials_of_a_kind_are_measured_in_blocks(self, tmp_path: Path) -> None:
        open_ids = [trial.trial_id for trial in SMALL.trials[-2:]]
        layout = build_store(tmp_path, STUDY, SMALL, missing=open_ids, n_participants=60)
        transfer = layout.transfer(DESIGN.trials[0].trial_id, "c" * 16)
        transfer.parent.mkdir(parents=True)
        transfer.write_text("x" * 10_000_000)
        facts = read_disk_facts(STUDY, plan_of(layout, design=SMALL), layout)
        ((kind, n),) = facts.missing.items()
        assert (kind.method, kind.base, kind.n_steps, n) == ("lora", "tiny-llama", 150, 2)
        sizes = facts.measured[kind]
        assert len(sizes) == 3 < N_MEASURED
        assert all(size % 4096 == 0 and size < 100_000 for size in sizes)
        assert sum(facts.n_kept.values()) == 3
        assert forecast_disk(facts).basis == f"measured on {len(sizes)} trials"

    def test_a_prepared_cohort_and_base_give_rows_and_shapes(self, tmp_path: Path) -> None:
        layout = StoreLayout(tmp_path)
        prepare(layout, InputKind.COHORT, counts=cohort_counts())
        prepare(layout, InputKind.BASE, counts={}, config={**PHI, "model_type": "llama"})
        facts = read_disk_facts(STUDY, plan_of(layout), layout)
        assert facts.n_rows == Amount(3202, 3202, 3202)  # everybody in tuning and held_out
        adapters = {kind.adapter_bytes for kind in facts.missing if kind.method == "lora"}
        assert adapters == {lora_bytes({**PHI, "model_type": "llama"}, rank=8)}
        sampled = STUDY.model_copy(update={"evaluation": STUDY.evaluation.model_copy(update={"controls_per_case": 2})})
        found = read_disk_facts(sampled, plan_of(layout), layout).n_rows
        assert found is not None and found.n_bytes == 3 * (59 + 105)

    def test_an_unprepared_cohort_is_guessed_from_its_file_or_said_to_be_unknown(self, tmp_path: Path) -> None:
        layout = StoreLayout(tmp_path / "store")
        table = tmp_path / "people.csv"
        there, gone = (STUDY.cohort.model_copy(update={"file": path}) for path in (table, tmp_path / "gone.csv"))
        table.write_text("a,b\n" * 1001)
        facts = read_disk_facts(STUDY.model_copy(update={"cohort": there}), plan_of(layout), layout)
        assert facts.n_rows == Amount.guess(300, factor=1.3)
        assert facts.unknown == ()
        facts = read_disk_facts(STUDY.model_copy(update={"cohort": gone}), plan_of(layout), layout)
        assert facts.n_rows is None
        of_the_cohort = set(InputKind) - {InputKind.BASE, InputKind.PROOF}
        assert facts.unknown == tuple(f"input {kind}" for kind in sorted(of_the_cohort))

    def test_a_narrowed_launch_needs_what_its_own_trials_need(self, tmp_path: Path) -> None:
        layout = StoreLayout(tmp_path)
        plan = plan_of(layout)
        whole = read_disk_facts(STUDY, plan, layout)
        one = read_disk_facts(STUDY, plan, layout, chosen=plan.todo[:1])
        assert sum(one.missing.values()) == 1
        assert forecast_disk(one).need_bytes < forecast_disk(whole).need_bytes

    def test_tracking_elsewhere_takes_nothing_here(self, tmp_path: Path) -> None:
        layout = StoreLayout(tmp_path)
        here, elsewhere = (
            forecast_disk(read_disk_facts(STUDY, plan_of(layout), layout, tracks_here=tracks))
            for tracks in (True, False)
        )
        assert here.need_bytes > elsewhere.need_bytes + 1_000_000

    def test_room_is_asked_of_the_nearest_folder_that_is_there(self, tmp_path: Path) -> None:
        assert free_bytes(StoreLayout(tmp_path / "not" / "yet")) == pytest.approx(
            free_bytes(StoreLayout(tmp_path)), rel=0.1
        )


@pytest.mark.parametrize(
    "path", sorted(set(SWEEPS.glob("*.yaml")) - {SWEEPS / "paper_facts.yaml"}), ids=lambda path: path.stem
)
def test_every_study_that_ships_has_a_forecast_from_nothing(path: Path, tmp_path: Path) -> None:
    study = load_study(path)
    layout = StoreLayout(tmp_path)
    found = forecast_disk(read_disk_facts(study, plan_of(layout, study, expand(study)), layout))
    assert 1_000_000 < found.low < found.need_bytes < found.high
