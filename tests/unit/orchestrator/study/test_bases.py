"""What a study file means for a base that it names, and where it is silent."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from orchestrator.design.grid import expand
from orchestrator.design.plan import make_plan
from orchestrator.store.outcomes import read_outcomes
from orchestrator.study.bases import MEANT, SCORED_RIGHT, StudyBase, StudyHub
from orchestrator.study.files import source_problems, sources_of
from orchestrator.study.study import ROWS_PER_BATCH, Study, load_sealed, load_study
from support.places import SWEEPS
from support.stores.builders import commit_trial
from support.studies.orders import micro_spec
from workers.contract.errors import InputError
from workers.contract.inputs import InputKind, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.outcome import TrialState
from workers.contract.recipes.bases import BaseSettings, HubBase
from workers.contract.recipes.teaching import Supervision
from workers.contract.system.sources import digest_of_model, digest_of_place

KINDS: dict[str, dict[str, object]] = {
    "hub": {"kind": "hub", "id": "owner/model", "revision": "a" * 40},
    "folder": {"kind": "folder", "folder": "model", "sha256": "b" * 64},
    "gguf": {"kind": "gguf", "package": "weights", "file": "w.gguf", "sha256": "c" * 64},
}
PREPARED = ("bos", "thoughts", "thought_markers", "special_tokens", "template_arguments")


def study_with(base: dict[str, object], folder: Path, **training: object) -> Study:
    """The quickstart on this base."""
    content = YAML(typ="safe").load(SWEEPS / "quickstart.yaml")
    content["bases"] = {"tiny-llama": base}
    content["training"] |= training
    path = folder / "study.yaml"
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(content, file)
    return load_study(path)


def base_of(base: dict[str, object], folder: Path) -> StudyBase:
    return study_with(base, folder).bases["tiny-llama"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_study_means_what_is_right_for_a_base_that_people_bring(kind: str, tmp_path: Path) -> None:
    base = base_of(KINDS[kind], tmp_path)
    assert {name: getattr(base, name) for name in MEANT} == MEANT


@pytest.mark.parametrize(("name", "value"), [("thoughts", "rationale"), ("ends", "eos"), ("bos", False)])
def test_what_the_file_says_stands(name: str, value: object, tmp_path: Path) -> None:
    base = base_of({**KINDS["hub"], name: value}, tmp_path)
    assert {name: getattr(base, name) for name in MEANT} == {**MEANT, name: value}


def test_what_is_silent_and_what_is_spelt_out_have_one_id(tmp_path: Path) -> None:
    silent, spelt = (study_with(base, tmp_path) for base in (KINDS["hub"], {**KINDS["hub"], **MEANT}))
    assert silent.base_recipes["tiny-llama"].digest() == spelt.base_recipes["tiny-llama"].digest()


@pytest.mark.parametrize(
    "base",
    [{"kind": "builtin", "recipe": "tiny_llama"}, {**KINDS["gguf"], "sha256": next(iter(SCORED_RIGHT))}],
    ids=["built in", "SmolLM2"],
)
def test_a_base_that_was_scored_right_is_left_as_it_was(base: dict[str, object], tmp_path: Path) -> None:
    read = base_of(base, tmp_path)
    assert {name: getattr(read, name) for name in MEANT} == {name: getattr(BaseSettings(), name) for name in MEANT}


def test_in_bfloat16_a_new_study_says_in_which_batches_a_base_writes(tmp_path: Path) -> None:
    builtin: dict[str, object] = {"kind": "builtin", "recipe": "tiny_llama"}
    rows = [
        study_with(base, tmp_path, precision=precision).evaluation.rows_per_batch
        for base in (KINDS["hub"], builtin)
        for precision in ("bfloat16", "float32")
    ]
    assert rows == [ROWS_PER_BATCH, None, None, None]


def test_a_sealed_study_means_what_it_meant(tmp_path: Path) -> None:
    study = study_with({"kind": "builtin", "recipe": "tiny_llama"}, tmp_path)
    old = study.model_copy(update={"bases": {"tiny-llama": StudyHub.model_validate(KINDS["hub"])}})
    (tmp_path / "study.json").write_text(old.model_dump_json())
    assert load_sealed(tmp_path / "study.json").bases == old.bases


def test_a_study_that_another_version_sealed_names_the_field_that_is_not_known(tmp_path: Path) -> None:
    sealed = json.loads(study_with({"kind": "builtin", "recipe": "tiny_llama"}, tmp_path).model_dump_json())
    sealed["training"]["later"] = 1
    (tmp_path / "study.json").write_text(json.dumps(sealed))
    with pytest.raises(InputError, match=r"another version of `sweep`: its study has `training.later`"):
        load_sealed(tmp_path / "study.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bos", True),
        ("thoughts", "closed"),
        ("thought_markers", ("<a>", "</a>")),
        ("special_tokens", "split"),
        ("template_arguments", {"enable_thinking": False}),
        ("reading", "text"),
        ("ends", "all"),
        ("label_spellings", ((" yes", " no"),)),
    ],
)
def test_a_setting_makes_new_exactly_the_tokens_that_it_changes(name: str, value: object) -> None:
    old = HubBase.model_validate(KINDS["hub"])
    before, after = (
        input_recipes(micro_spec(Supervision.FREE_FORM).model_copy(update={"base": base}))
        for base in (old, old.model_copy(update={name: value}))
    )
    kinds = before.keys() - {InputKind.PROOF}
    changed = {kind for kind in kinds if before[kind].digest() != after[kind].digest()}
    expected = {InputKind.PROMPT_TOKENS} if name in PREPARED else set()
    assert changed == expected | ({InputKind.RATIONALE_TOKENS} if name == "special_tokens" else set())


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"ends": "most"}, "ends: most is not eos or all; write one of eos, all"),
        ({"ends": ["eos"]}, "ends: "),
        ({"bos": "maybe"}, "bos: maybe is not true or false; write true or false"),
        ({"thought_markers": "<think>"}, "thought_markers: <think> is not a list; write a list of 2: text, text"),
        ({"thought_markers": ["<a>"]}, "thought_markers[1]: is missing; add text"),
        ({"thought_markers": [1, 2]}, "thought_markers[0]: 1 is not text"),
        ({"thought_markers": ["a", "a"]}, "'a' and 'a' can't part a thought from an answer; write two other texts"),
        ({"thought_markers": ["", ""]}, "can't part a thought from an answer"),
        ({"thought_markers": ["Answer:", "<b>"]}, "a thought can't be marked by what begins an answer"),
        ({"template_arguments": {"a": [1]}}, "template_arguments.a: "),
        ({"label_spellings": [[True, False]]}, "label_spellings[0][0]: "),
        ({"label_spellings": []}, "label_spellings: [] is empty; write a list of one or more, each a list of 2"),
        ({"template_arguments": {"enable_thinking": False}}, "template_arguments are for a chat template alone"),
        ({"decoding": {"temperature": 3}}, "decoding.temperature: 3 is outside [0, 2]"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named_with_its_line_and_what_to_write(
    setting: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as raised:
        study_with({**KINDS["folder"], **setting}, tmp_path)
    for problem in raised.value.problems:
        assert problem.line is not None
        assert problem.where.startswith("bases.tiny-llama")
        assert "nothing" not in str(problem)
        assert "fault" not in str(problem)
    assert any(said in str(problem) for problem in raised.value.problems), str(raised.value)


@pytest.mark.parametrize(
    ("written", "lost"),
    [
        ("[[ yes, no]]", ["yes"]),
        ("[[yes,  no]]", ["no"]),
        ("[[yes, no], [ Yes,  No]]", ["Yes", "No"]),
        ("[[yes, no]]", []),
        ("[[yes,\n      no]]", []),
        ('[[ " yes",  " no"]]', []),
        ("\n    - - yes\n      - no\n", []),
    ],
)
def test_a_space_that_yaml_takes_from_a_label_is_missed(written: str, lost: list[str], tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    base = f"  spelled:\n    kind: builtin\n    recipe: tiny_llama\n    label_spellings: {written}\n"
    path.write_text((SWEEPS / "quickstart.yaml").read_text().replace("bases:\n", f"bases:\n{base}"))
    said = []
    try:
        load_study(path)
    except InputError as error:
        said = [problem.what for problem in error.problems]
    assert said == [f"the space before {word} is gone: YAML takes it from what is not quoted" for word in lost]


@pytest.mark.parametrize("engine", ["continuous"])
def test_an_engine_may_write_for_a_base_of_which_the_file_says_nothing(engine: str, tmp_path: Path) -> None:
    study = study_with(KINDS["hub"], tmp_path)
    content = YAML(typ="safe").load(study.path)
    content["evaluation"]["engine"] = engine
    with (tmp_path / "other.yaml").open("w") as file:
        YAML(typ="safe", pure=True).dump(content, file)
    assert load_study(tmp_path / "other.yaml").evaluation.engine == engine


def test_trials_that_were_scored_by_the_older_way_become_stale_and_the_settings_are_named(tmp_path: Path) -> None:
    study = study_with(KINDS["hub"], tmp_path)
    old = study.model_copy(update={"bases": {"tiny-llama": StudyHub.model_validate(KINDS["hub"])}})
    layout = StoreLayout(tmp_path / "store")
    commit_trial(layout, expand(old).trials[0], None)
    plan = make_plan(expand(study), read_outcomes(layout), {}, study=study.study)
    (stale,) = plan.left_over
    assert stale.state is TrialState.STALE
    changed = "base.bos, base.ends, base.reading, base.special_tokens, base.thoughts"
    assert stale.reason == f"replaced by {expand(study).trials[0].trial_id}, changed: {changed}"


def model_in(folder: Path) -> Path:
    """What has the names of a model's files."""
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text(f"{name} {folder.name}")
    return folder


def adapter_in(folder: Path) -> Path:
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_text(name)
    return folder


def problems_of(study: Study) -> list[str]:
    """Those of its bases."""
    return [str(problem) for problem in source_problems(study) if problem.where.startswith("bases.")]


class TestPlaces:
    def test_a_file_by_its_path_is_known_by_its_name_and_digest(self, tmp_path: Path) -> None:
        (tmp_path / "w.gguf").write_text("weights")
        digest = digest_of_model(tmp_path / "w.gguf")
        study = study_with({"kind": "gguf", "file": "w.gguf", "sha256": digest}, tmp_path)
        assert problems_of(study) == []
        assert sources_of(study)[digest] == str(tmp_path / "w.gguf")
        recipe = study.base_recipes["tiny-llama"]
        assert (
            recipe
            == study_with({"kind": "gguf", "file": f"{tmp_path}/w.gguf", "sha256": digest}, tmp_path).base_recipes[
                "tiny-llama"
            ]
        )
        (tmp_path / "w.gguf").unlink()
        assert problems_of(study) == [
            f"bases.tiny-llama.file: {tmp_path}/w.gguf is no file; mend the path, or name the package that has it"
        ]

    def test_an_adapter_to_start_from_is_known_by_its_digest(self, tmp_path: Path) -> None:
        digest = digest_of_model(adapter_in(tmp_path / "ours"))
        base = {**KINDS["hub"], "adapter": {"folder": "ours", "sha256": digest}}
        study = study_with(base, tmp_path)
        assert problems_of(study) == []
        assert sources_of(study)[digest] == str(tmp_path / "ours")
        recipe = study.base_recipes["tiny-llama"]
        assert recipe.content()["adapter"] == {"sha256": digest}
        bare = HubBase.model_validate(recipe.model_dump(exclude={"adapter"}))
        kinds = {
            kind
            for kind, made in input_recipes(micro_spec(base=recipe)).items()
            if made != input_recipes(micro_spec(base=bare))[kind]
        }
        assert kinds == {InputKind.BASE, InputKind.PROOF, InputKind.PROMPT_TOKENS}
        (tmp_path / "ours" / "adapter_model.safetensors").write_text("others")
        (found,) = problems_of(study)
        assert found.startswith("bases.tiny-llama.adapter.sha256: ours hashes to ")

    def test_what_lies_beside_a_models_files_is_no_part_of_it(self, tmp_path: Path) -> None:
        model = model_in(tmp_path / "model")
        own = digest_of_model(model)
        assert own == digest_of_place(model)  # as studies of before have it
        for name in ("trainer_state.json", "run.log", "README.md"):
            (model / name).write_text("seen today")
        assert digest_of_model(model) == own
        for digest in (own, digest_of_place(model)):
            study = study_with({**KINDS["folder"], "sha256": digest}, tmp_path)
            assert problems_of(study) == []

    def test_a_missing_digest_is_said(self, tmp_path: Path) -> None:
        model, adapter = model_in(tmp_path / "model"), adapter_in(tmp_path / "ours")
        cases: tuple[tuple[dict[str, object], str], ...] = (
            ({"kind": "folder", "folder": "model"}, digest_of_model(model)),
            ({**KINDS["hub"], "adapter": {"folder": "ours"}}, digest_of_model(adapter)),
            ({"kind": "gguf", "file": "absent.gguf"}, "SHA-256, 64"),
        )
        for base, digest in cases:
            with pytest.raises(InputError, match=rf"bases\.tiny-llama.*\.?sha256: is missing; .*{digest}"):
                study_with(base, tmp_path)
