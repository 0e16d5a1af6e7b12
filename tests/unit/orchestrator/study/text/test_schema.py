"""The JSON schema of a study file and the page that is made of it: fresh, whole, and true of what ships."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from orchestrator.study.study import load_study, study_schema
from orchestrator.study.text.source import read_source
from support.launches.command_line import sweep_here as sweep
from support.places import SWEEPS

STUDIES = sorted({*SWEEPS.glob("*.yaml")} - {SWEEPS / "paper_facts.yaml"})
LINE = "# yaml-language-server: $schema=study.schema.json\n"
VALIDATOR = Draft202012Validator(study_schema())


@pytest.mark.parametrize(
    ("name", "options"), [("study.schema.json", ()), ("reference.md", ("--page",))], ids=["schema", "page"]
)
def test_what_is_made_of_the_models_is_fresh(name: str, options: tuple[str, ...], tmp_path: Path) -> None:
    made = sweep("schema", *options, cwd=tmp_path).stdout
    remedy = f"make it anew: `sweep {' '.join(['schema', *options])} > sweeps/{name}`"
    assert (SWEEPS / name).read_text() == made, remedy


def test_the_schema_is_json_and_a_schema(tmp_path: Path) -> None:
    Draft202012Validator.check_schema(json.loads(sweep("schema", cwd=tmp_path).stdout))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_that_ships_names_the_schema_and_holds_by_it(path: Path) -> None:
    assert path.read_text().startswith(LINE)
    assert [error.message for error in VALIDATOR.iter_errors(read_source(path).data)] == []


def test_the_line_for_editors_is_no_part_of_a_study(tmp_path: Path) -> None:
    path, text = tmp_path / "study.yaml", STUDIES[-1].read_text()
    path.write_text(text)
    with_line = load_study(path)
    path.write_text(text.removeprefix(LINE))
    assert load_study(path) == with_line


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("sead", 11),
        ("training", {"steps": 150, "batch_size": 32, "seed": 11}),
        ("training", {"steps": 0, "batch_size": 32}),
        ("teacher", {"kind": "parrot"}),
        ("bases", {"tiny": {"kind": "builtin", "recipe": "tiny_llama", "folder": "x"}}),
        ("axes", {"supervision": ["label_only"]}),
    ],
)
def test_the_schema_refuses_what_a_launch_would(section: str, value: object) -> None:
    sound = read_source(STUDIES[-1]).data
    assert list(VALIDATOR.iter_errors({**sound, section: value}))


def fields(schema: dict[str, Any]) -> list[str]:
    """Of every model; of one that may be written as text, too."""
    models = [schema, *schema["$defs"].values()]
    models += [kind for model in models for kind in model.get("anyOf", ()) if "properties" in kind]
    return sorted(name for model in models for name in model.get("properties", {}))


def test_the_page_has_a_row_for_every_field_of_every_section() -> None:
    rows = [line.split("`")[1] for line in (SWEEPS / "reference.md").read_text().splitlines() if line[:3] == "| `"]
    assert sorted(rows) == fields(study_schema())


def test_the_page_tells_range_unit_and_default_and_what_silence_means_today() -> None:
    page = (SWEEPS / "reference.md").read_text()
    assert "| `batch_size` | a whole number in [1, 65536] |  | **required** | examples in one optimizer step |" in page
    assert "| `checkpoint_every_s` | a number in [0, ∞) | s | `60` | seconds between resume points; 0 is" in page
    hub = page.partition("## bases (hub)")[2].partition("## ")[0]
    assert "| `bos` | true or false |  | `true` |" in hub
