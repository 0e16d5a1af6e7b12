"""What the headline says: where the difference holds, how far its interval reaches, and why no further."""

import numpy as np
import pytest

from orchestrator.analysis.answer import in_few_words, phrase_answer, where_it_holds
from orchestrator.analysis.checks.verdict import Verdict
from orchestrator.analysis.contrasts import ContrastFindings
from orchestrator.analysis.uncertainty.layers import BASES, PARTICIPANTS, TRAINING
from support.stores.estimates import known
from support.studies import told
from support.studies.simulated import FloatArray, normal
from workers.contract.recipes.scorings import Scoring

ALLOWED = Verdict(allowed=True, reasons=())


def contrast_of(differences: FloatArray) -> ContrastFindings:
    return told.contrast_of(differences)[0]


def harm(*shape: int) -> FloatArray:
    return -0.1 + 0.01 * normal(*shape)


def test_one_base_of_two_seeds_is_about_these_trained_models() -> None:
    contrast = contrast_of(harm(1, 2, 1, 1))
    answer = phrase_answer(contrast, ALLOWED)
    assert contrast.widest.name == PARTICIPANTS
    assert answer.startswith(
        "Models trained on free_form ranked participants worse than those trained on label_only: mean"
    )
    assert (
        "The intervals cover these trained models on new participants, not new seeds and training draws (2 s" in answer
    )
    assert answer.endswith(", new bases (one base of the 5 that it takes) or other cohorts.")


@pytest.mark.parametrize(
    ("seeds", "draws", "covers"),
    [
        (5, 1, "new participants and new seeds, on the training draw of this study"),
        (5, 2, "new participants and new seeds, on the training draws of this study"),
        (3, 5, "new participants and new training draws, with the seeds of this study"),
        (5, 5, "new participants, new seeds and new training draws"),
    ],
)
def test_seeds_and_draws_widen_the_answer(seeds: int, draws: int, covers: str) -> None:
    contrast = contrast_of(harm(1, seeds, draws, 2))
    assert contrast.widest.name == TRAINING
    assert f"The intervals cover {covers}, by t with " in phrase_answer(contrast, ALLOWED)


def test_five_bases_carry_an_answer_about_new_ones() -> None:
    contrast = contrast_of(harm(5, 1, 1, 2))
    layer, answer = contrast.widest, phrase_answer(contrast, ALLOWED)
    assert layer.name == BASES
    assert "cover new participants, new bases and their seeds, on the training draw of this study, by t with" in answer
    assert "For these trained models on new participants it is −" in answer
    assert known(layer).value == pytest.approx(known(contrast).value)
    assert contrast.across_bases is not None and contrast.across_bases.sign_flip_p == 2 / 2**5


def test_a_difference_of_one_base_in_five_is_none_of_new_bases() -> None:
    """Four bases without a difference and one with a large one: shown of these models, not of the next."""
    contrast = contrast_of(np.array([0.0, 0.0, 0.0, 0.0, -0.5])[:, None, None, None] + 0.002 * normal(5, 2, 1, 1))
    answer = phrase_answer(contrast, ALLOWED)
    assert known(contrast).sign == -1 and known(contrast.widest).sign == 0
    assert "By base: ranked participants worse at base-4 (−" in answer
    assert "no difference was shown at base-0 (" in answer
    assert "matched cells, strict scoring (no difference shown)." in answer


def test_where_the_difference_holds_comes_before_the_pooled_one() -> None:
    contrast = contrast_of(np.array([0.0, -0.1])[None, None, None])
    answer = phrase_answer(contrast, ALLOWED)
    assert "the difference depends on train size. By train size: ranked participants worse at 640 (−0.100, −" in answer
    assert in_few_words(contrast, ALLOWED).startswith("Depends on train size; pooled ")
    assert answer.index("no difference was shown at 64 (") < answer.index("Pooled, an average over unlike cells: mean")


def test_older_findings_tell_of_their_models_alone() -> None:
    contrast = contrast_of(harm(1, 5, 1, 1))
    assert ContrastFindings.model_validate_json(contrast.model_dump_json()) == contrast
    written = contrast.model_dump(mode="json", exclude={"layers", "by_axis", "components", "across_bases"})
    older = ContrastFindings.model_validate(written)
    assert older.widest.name == PARTICIPANTS
    assert known(older.widest, Scoring.FORCED) == known(contrast, Scoring.FORCED)


def test_a_few_words_say_the_direction_or_that_there_is_no_verdict() -> None:
    worse, level = contrast_of(harm(1, 2, 1, 1)), contrast_of(0.01 * normal(1, 2, 1, 1))
    assert in_few_words(worse, ALLOWED).startswith("Ranked worse: −0.")
    assert in_few_words(level, ALLOWED) == "No difference shown"
    assert (
        in_few_words(worse, Verdict(allowed=False, reasons=("a leak",))) == in_few_words(None, ALLOWED) == "No verdict"
    )


def test_where_it_holds_counts_the_levels_and_names_the_axes() -> None:
    alike = contrast_of(harm(5, 2, 1, 2))
    assert where_it_holds(alike, ALLOWED) == (
        "Not seen to depend on base and train size. Of 7 levels, worse at 7, better at 0, neither at 0."
    )
    assert where_it_holds(alike, Verdict(allowed=False, reasons=())) == where_it_holds(None, ALLOWED) == ""
    assert where_it_holds(contrast_of(harm(1, 2, 1, 1)), ALLOWED) == ""
