"""An id follows from a trial's content: never from how the file is written, always from what it asks for."""

import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from orchestrator.design.grid import Design, expand
from orchestrator.study.study import load_study
from workers.contract.recipes.bases import BuiltinBase
from workers.contract.recipes.cohorts import FraminghamCohort
from workers.contract.recipes.teaching import PromptRecipe, Supervision, TemplateTeacherRecipe
from workers.contract.trial import EvaluationRecipe, LoraRecipe, TrainingRecipe, TrialSpec

STUDY: dict[str, Any] = {
    "study": "ids",
    "question": "Same content, same id?",
    "cohort": {"source": "framingham", "file": "people.csv", "sha256": "0f" * 32, "min_cell": 5},
    "prompt": {"template": "exam_summary"},
    "teacher": {"max_words": 24},
    "bases": {
        "tiny": {"kind": "builtin", "recipe": "tiny_llama"},
        "real": {"kind": "gguf", "package": "weights", "file": "w.gguf", "sha256": "ab" * 32},
    },
    "axes": {
        "supervision": ["label_only", "free_form"],
        "base": ["tiny", "real"],
        "train_size": [64],
        "learning_rate": [1e-4],
        "seed": [11, 23],
    },
    "training": {"steps": 20, "batch_size": 8},
    "evaluation": {"controls_per_case": 2.5},
    "controls": ["zero_shot", "permuted_labels", "age_sex", "logistic"],
}
DEFAULTS: list[tuple[str, str, Any]] = [
    ("cohort", "outcome", "cvd"),
    ("cohort", "horizon_days", 1826),
    ("prompt", "version", 1),
    ("teacher", "kind", "template"),
    ("teacher", "seed", 0),
    ("training", "lora", {}),
    ("training", "lora", {"rank": 8, "alpha": 16}),
    ("training", "weight_decay", 0),
    ("training", "precision", "float32"),
    ("evaluation", "max_new_tokens", 64),
    ("resources", "cpus_per_trial", 4),
    ("resources", "processes_per_trial", 2),
]


def design_of(text: str) -> Design:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_text(text, encoding="utf-8")
        return expand(load_study(path))


def write(content: dict[str, Any]) -> str:
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(content, file)
        file.seek(0)
        return file.read()


def changed(section: str, key: str, value: object) -> dict[str, Any]:
    return {**STUDY, section: {**STUDY.get(section, {}), key: value}}


def ids(design: Design) -> list[str]:
    return [trial.trial_id for trial in design.everything]


BASELINE = design_of(write(STUDY))


@st.composite
def reordered(draw: st.DrawFn, value: Any) -> Any:  # noqa: ANN401
    """The same content with the keys of every mapping in another order."""
    if not isinstance(value, dict):
        return value
    return {key: draw(reordered(value[key])) for key in draw(st.permutations(list(value)))}


@settings(max_examples=25, deadline=None)
@given(content=reordered(STUDY))
def test_key_order_changes_no_id(content: dict[str, Any]) -> None:
    assert set(ids(design_of(write(content)))) == set(ids(BASELINE))
    assert [t.trial_id for t in design_of(write(content)).trials] == [t.trial_id for t in BASELINE.trials]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_blank_lines_and_comments_change_no_id(data: st.DataObject) -> None:
    filler = st.sampled_from(["", "\n", "# why\n", "\n\n    # indented\n"])
    lines = write(STUDY).splitlines(keepends=True)
    assert ids(design_of("".join(data.draw(filler) + line for line in lines))) == ids(BASELINE)


@given(spelling=st.sampled_from(["1e-4", "0.0001", "1.0E-4", "1.e-4", "+1e-04", "0.1e-3", "100e-6"]))
@settings(deadline=None)
def test_spelling_of_a_number_changes_no_id(spelling: str) -> None:
    text = write(changed("axes", "learning_rate", ["RATE"])).replace("RATE", spelling)
    assert ids(design_of(text)) == ids(BASELINE)


@settings(max_examples=25, deadline=None)
@given(spelled_out=st.lists(st.sampled_from(DEFAULTS), max_size=len(DEFAULTS)))
def test_defaults_may_be_written_or_left_out(spelled_out: list[tuple[str, str, Any]]) -> None:
    content = STUDY
    for section, key, value in spelled_out:
        content = {**content, section: {**content.get(section, {}), key: value}}
    assert ids(design_of(write(content))) == ids(BASELINE)


@pytest.mark.parametrize(
    "content",
    [
        {**STUDY, "study": "renamed"},
        {**STUDY, "question": "Another?"},
        {**STUDY, "resources": {"gpus_per_trial": 0}},
        {**STUDY, "resources": {"gpus_per_trial": "auto"}},
        changed("cohort", "file", "elsewhere.csv"),
        changed("cohort", "min_cell", 11),
        {
            **STUDY,
            "bases": {"first": STUDY["bases"]["tiny"], "second": STUDY["bases"]["real"]},
            "axes": {**STUDY["axes"], "base": ["first", "second"]},
        },
    ],
    ids=["study", "question", "resources", "auto", "file", "min_cell", "base names"],
)
def test_what_is_not_content_changes_no_id(content: dict[str, Any]) -> None:
    assert ids(design_of(write(content))) == ids(BASELINE)


@pytest.mark.parametrize(
    "content",
    [
        changed("cohort", "sha256", "1e" * 32),
        changed("cohort", "index", "exam_1"),
        changed("evaluation", "sampling_seed", 1),
    ],
    ids=["data", "index", "evaluation"],
)
def test_cohort_and_evaluation_change_every_id(content: dict[str, Any]) -> None:
    assert not set(ids(design_of(write(content)))) & set(ids(BASELINE))


@pytest.mark.parametrize(
    ("content", "affected"),
    [
        (changed("prompt", "version", 2), lambda spec: spec.prompt is not None),
        (changed("teacher", "max_words", 30), lambda spec: spec.supervision is Supervision.FREE_FORM),
        (changed("training", "precision", "bfloat16"), lambda spec: spec.base is not None),
        (
            changed("bases", "real", {**STUDY["bases"]["real"], "sha256": "cd" * 32}),
            lambda spec: spec.base is not None and spec.base.kind == "gguf",
        ),
        (
            changed("bases", "tiny", {**STUDY["bases"]["tiny"], "version": 2}),
            lambda spec: spec.base is not None and spec.base.kind == "builtin",
        ),
    ],
    ids=["prompt version", "teacher", "precision", "weights", "built-in base"],
)
def test_a_change_of_content_changes_exactly_the_trials_it_reaches(
    content: dict[str, Any],
    affected: Any,  # noqa: ANN401
) -> None:
    for before, after in zip(BASELINE.everything, design_of(write(content)).everything, strict=True):
        assert (before.trial_id != after.trial_id) == affected(before.spec)


def test_another_evaluation_keeps_the_adapter() -> None:
    after = design_of(write(changed("evaluation", "max_new_tokens", 80)))
    for before, trial in zip(BASELINE.everything, after.everything, strict=True):
        assert trial.spec.training_id == before.spec.training_id
        assert trial.trial_id != before.trial_id


@settings(max_examples=20, deadline=None)
@given(
    added=st.sampled_from([("supervision", "step_by_step"), ("train_size", 32), ("learning_rate", 0.01), ("seed", 5)])
)
def test_a_new_axis_value_leaves_the_other_ids_alone(added: tuple[str, object]) -> None:
    axis, value = added
    grown = design_of(write(changed("axes", axis, [*STUDY["axes"][axis], value])))
    assert set(ids(BASELINE)) < set(ids(grown))


class GrownTeacher(TemplateTeacherRecipe):
    tone: str = "plain"


class GrownTraining(TrainingRecipe):
    momentum: float = 0.9
    lora: LoraRecipe = LoraRecipe()


@given(words=st.integers(12, 400), seed=st.integers(0, 2**32 - 1))
def test_a_new_defaulted_field_leaves_digests_alone(words: int, seed: int) -> None:
    assert GrownTeacher(max_words=words).digest() == TemplateTeacherRecipe(max_words=words).digest()
    grown = GrownTraining(learning_rate=1e-3, seed=seed, steps=1, batch_size=1)
    assert grown.digest() == TrainingRecipe(learning_rate=1e-3, seed=seed, steps=1, batch_size=1).digest()
    assert GrownTeacher(tone="warm").digest() != TemplateTeacherRecipe().digest()


def golden_spec() -> TrialSpec:
    return TrialSpec(
        cohort=FraminghamCohort(source="framingham", sha256="0f" * 32),
        evaluation=EvaluationRecipe(controls_per_case=2.5, max_new_tokens=48),
        compute_version=1,
        train_size=128,
        prompt=PromptRecipe(),
        supervision=Supervision.FREE_FORM,
        teacher=TemplateTeacherRecipe(max_words=24),
        base=BuiltinBase(kind="builtin", recipe="tiny_llama", prompt_format="{prompt} ->"),
        training=TrainingRecipe(learning_rate=1e-4, seed=11, steps=20, batch_size=8, lora=LoraRecipe(rank=4)),
    )


# If these change, every store out there is orphaned: give the new meaning a new field instead.
GOLDEN = ("fa8d3f6b0f3778aa", "7673904e6a621ede", "4c4086025d59dad2")


def test_ids_are_those_of_earlier_releases() -> None:
    spec = golden_spec()
    assert (spec.trial_id, spec.training_id, spec.cell_id) == GOLDEN


@pytest.mark.parametrize("deep", [False, True])
def test_a_changed_copy_has_ids_of_its_own_though_those_of_the_first_were_asked_for(deep: bool) -> None:
    spec = golden_spec()
    before = spec.ids
    changed = spec.model_copy(update={"train_size": 4096}, deep=deep)
    assert changed.ids == TrialSpec.model_validate(changed.model_dump()).ids
    assert changed.ids != before
    assert spec.model_copy(update={"train_size": spec.train_size}).ids == before
    assert changed.model_copy(update={"train_size": spec.train_size}) == spec


def test_ids_that_were_asked_for_are_no_part_of_the_content() -> None:
    spec, other = golden_spec(), golden_spec()
    before = spec.model_dump_json()
    assert spec.ids == pickle.loads(pickle.dumps(spec)).ids
    assert (spec.model_dump_json(), spec, hash(spec)) == (before, other, hash(other))


@pytest.mark.parametrize("hash_seed", ["0", "1234"])
def test_ids_are_the_same_in_every_process(hash_seed: str) -> None:
    script = (
        "import sys; from workers.contract.trial import TrialSpec\n"
        "spec = TrialSpec.model_validate_json(sys.stdin.read())\n"
        "print(spec.trial_id, spec.training_id, spec.cell_id)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script],
        input=golden_spec().model_dump_json(),
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert tuple(finished.stdout.split()) == GOLDEN
