"""What a study file may say about contrasts and interactions, and what it is told otherwise."""

from pathlib import Path

import pytest

from orchestrator.study.study import Contrast, load_study
from workers.contract.errors import InputError

STUDY = """\
study: small
question: Does it read?
cohort: {source: framingham, file: people.csv, sha256: SHA, min_cell: 5}
bases: {a: {kind: builtin, recipe: tiny_llama}, b: {kind: builtin, recipe: micro_llama}}
axes: {supervision: [label_only, free_form], base: [a, b], train_size: [64], learning_rate: [1e-3], seed: [1], AXES}
training: {steps: 20, batch_size: 8}
contrasts:
  one: {treatment: [free_form], reference: label_only}
  two: CONTRAST
"""


def write(folder: Path, *, axes: str = "budget: [steps]", contrast: str, more: str = "") -> Path:
    path = folder / "small.yaml"
    path.write_text(STUDY.replace("SHA", "0f" * 32).replace("AXES", axes).replace("CONTRAST", contrast) + more)
    return path


@pytest.mark.parametrize(
    ("contrast", "message"),
    [
        (
            "{axis: base, treatment: [b], reference: c}",
            "c is not on axes.base; add it there, or name",
        ),
        (
            "{axis: bse, treatment: [b], reference: a}",
            "contrasts.two.axis: bse is not supervision or",
        ),
        ("{axis: shows, treatment: [label], reference: none}", "label is not on few_shot.shows"),
        (
            "{axis: base, treatment: [b], reference: a, where: {sed: [1]}}",
            "where.sed: is not an axis of the study; did you mean `seed`?",
        ),
        (
            "{axis: base, treatment: [b], reference: a, where: {base: [a]}}",
            "where.base: is the contrast's own axis; remove it",
        ),
        (
            "{axis: base, treatment: [b], reference: a, where: {seed: [2]}}",
            "where.seed[0]: 2 is not on axes.seed; add it there, or name one of 1",
        ),
        (
            "{axis: base, treatment: [b], reference: a, where: {seed: [1, 1]}}",
            "where.seed[1]: 1 repeats 1; remove one of them",
        ),
        ("{axis: base, treatment: [[b]], reference: a}", "two.treatment[0]: [b] is not text"),
    ],
)
def test_a_contrast_that_matches_nothing_is_refused(tmp_path: Path, contrast: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_study(write(tmp_path, contrast=contrast))
    assert message in str(caught.value)


def test_a_contrast_of_supervisions_must_say_which_rationales_it_means(tmp_path: Path) -> None:
    contrast = "{treatment: [free_form], reference: label_only, where: {ordering: [label_first]}}"
    with pytest.raises(InputError) as caught:
        load_study(write(tmp_path, axes="ordering: [label_first, rationale_first]", contrast=contrast))
    (problem,) = caught.value.problems
    assert (problem.where, problem.remedy) == ("contrasts.one", "add `where: {ordering: [label_first]}`")


@pytest.mark.parametrize(
    ("interaction", "message"),
    [
        ("{of: one, minus: tow}", "interactions.gap.minus: tow is not among `contrasts`; did you mean `two`?"),
        ("{of: one, minus: one}", "one stands on both sides"),
        ("{of: one}", "interactions.gap.minus: is missing"),
    ],
)
def test_an_interaction_is_between_two_declared_contrasts(tmp_path: Path, interaction: str, message: str) -> None:
    path = write(
        tmp_path, contrast="{axis: base, treatment: [b], reference: a}", more=f"interactions: {{gap: {interaction}}}\n"
    )
    with pytest.raises(InputError) as caught:
        load_study(path)
    assert message in str(caught.value)


def test_levels_of_a_contrast_keep_their_kind(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, contrast="{axis: base, treatment: [b], reference: a, where: {seed: [1]}}"))
    assert study.contrasts["two"] == Contrast(axis="base", treatment=("b",), reference="a", where={"seed": (1,)})


def test_a_contrast_from_before_there_were_axes_is_one_of_supervisions() -> None:
    old = Contrast.model_validate_json('{"treatment": ["free_form"], "reference": "label_only"}')
    assert old == Contrast(axis="supervision", treatment=("free_form",), reference="label_only", where={})


@pytest.mark.parametrize(
    ("looks", "message"),
    [
        ("[0.5, 0.25]", "looks[1]: 0.25 comes after 0.5; let them rise"),
        ("[0.5, 0.5]", "looks[1]: 0.5 comes after 0.5"),
        ("[0.5, 1]", "looks[1]"),
        ("[0]", "looks[0]"),
        ("[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]", "looks: "),
        ("[0.5]\nblind: false", "looks: are no rule where people see scores and may stop; take out `blind: false`"),
    ],
)
def test_looks_out_of_order_or_seen_by_people_are_refused(tmp_path: Path, looks: str, message: str) -> None:
    contrast = "{axis: base, treatment: [b], reference: a}"
    with pytest.raises(InputError) as caught:
        load_study(write(tmp_path, contrast=contrast, more=f"looks: {looks}\n"))
    (problem,) = caught.value.problems
    assert message in str(problem)


def test_looks_without_a_contrast_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, contrast="", more="looks: [0.5]\n")
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith(("contr", "  "))))
    with pytest.raises(InputError, match="looks: have no contrast to look at; declare one"):
        load_study(path)
