"""The bootstrap over participants."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from orchestrator.analysis.checks.check import auc_of
from orchestrator.analysis.resampling.bootstrap import Estimate, Ranking, bootstrap_aucs, combine, resampled_weights
from orchestrator.analysis.resampling.held_out import align_held_out
from orchestrator.analysis.results import Predictions
from workers.contract.errors import StoreError
from workers.contract.recipes.scorings import Scoring


def few_predictions(risks: list[float], labels: list[int]) -> Predictions:
    n = len(risks)
    return Predictions(
        example_id=np.array([f"e{i}" for i in range(n)]),
        participant_id=np.array([f"p{i // 2}" for i in range(n)]),
        split=np.array(["held_out"] * n),
        label=np.array(labels),
        weight=np.ones(n),
        is_valid=np.ones(n, dtype=bool),
        risks=dict.fromkeys((Scoring.STRICT, Scoring.FORCED), np.array(risks)),
    )


@pytest.mark.parametrize("decimals", [1, 2, 8], ids=["many ties", "some ties", "no ties"])
def test_auc_of_every_replicate_equals_sklearns(decimals: int) -> None:
    generator = np.random.default_rng(3)
    labels = (generator.random(300) < 0.2).astype(np.int64)
    risks = np.round(generator.random(300) * 0.7 + 0.3 * labels * generator.random(300), decimals)
    weights = generator.integers(0, 4, (40, 300)) * generator.uniform(0.5, 9.0, 300)
    expected = [roc_auc_score(labels, risks, sample_weight=row) for row in weights]
    np.testing.assert_allclose(Ranking.of(risks, labels).aucs(weights.T), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("decimals", [1, 8], ids=["ties", "no ties"])
def test_every_way_to_an_auc_is_the_sum_over_all_pairs(decimals: int) -> None:
    """Of clustered examples, as drawn and as observed."""
    generator = np.random.default_rng(5)
    labels = (generator.random(60) < 0.3).astype(np.int64)
    risks = np.round(generator.normal(size=60) + 0.5 * labels.astype(np.float64), decimals)
    drawn = generator.multinomial(20, np.full(20, 1 / 20), size=30)[:, np.arange(60) // 3]
    weights = np.vstack([np.ones(60), drawn]) * generator.uniform(0.5, 9.0, 60)
    event, control = (np.flatnonzero(labels == label) for label in (1, 0))
    gaps = risks[event][:, None] - risks[control][None]
    wins = np.einsum("ri,rj,ij->r", weights[:, event], weights[:, control], (gaps > 0) + 0.5 * (gaps == 0))
    expected = wins / (weights[:, event].sum(axis=1) * weights[:, control].sum(axis=1))
    np.testing.assert_allclose(Ranking.of(risks, labels).aucs(weights.T), expected, rtol=0, atol=1e-12)
    one_by_one = [auc_of(risks, labels, row) for row in weights]
    np.testing.assert_allclose(one_by_one, expected, rtol=0, atol=1e-12)


def test_replicate_without_events_is_dropped_from_the_interval() -> None:
    held_out = align_held_out({"a": few_predictions([0.9, 0.2, 0.3, 0.4], [1, 0, 0, 0])})
    table = bootstrap_aucs(held_out, n_replicates=100)[Scoring.STRICT]
    assert np.isnan(table.replicates).any()
    assert table.estimate({"a": 1.0}) == Estimate(value=1.0, low=1.0, high=1.0)


def test_participants_are_resampled_whole() -> None:
    held_out = align_held_out({"a": few_predictions([0.9, 0.2, 0.3, 0.4], [1, 0, 0, 0])})
    weights = np.concatenate(list(resampled_weights(held_out, n_replicates=50, seed=1)))
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 3]).all()
    assert (weights.sum(axis=1) == 4).all()


def test_draws_do_not_depend_on_the_chunk_size() -> None:
    held_out = align_held_out({"a": few_predictions([0.9, 0.2, 0.3, 0.4], [1, 0, 0, 0])})
    whole = list(resampled_weights(held_out, n_replicates=30, seed=5))
    parts = list(resampled_weights(held_out, n_replicates=30, seed=5, chunk_elements=28))
    assert (len(whole), len(parts)) == (1, 5)
    np.testing.assert_array_equal(whole[0], np.concatenate(parts))


def test_both_scorings_share_their_resamples() -> None:
    held_out = align_held_out({"a": few_predictions([0.9, 0.2, 0.3, 0.4], [1, 0, 1, 0])})
    aucs = bootstrap_aucs(held_out, n_replicates=20)
    np.testing.assert_array_equal(aucs[Scoring.STRICT].replicates, aucs[Scoring.FORCED].replicates)


def test_trial_without_a_scoring_makes_every_estimate_that_needs_it_null() -> None:
    table = few_predictions([0.9, 0.2, 0.3, 0.4], [1, 0, 1, 0])
    with_direct = replace(table, risks={**table.risks, Scoring.DIRECT: table.risks[Scoring.STRICT]})
    aucs = bootstrap_aucs(align_held_out({"a": with_direct, "b": table}), n_replicates=20)
    assert aucs[Scoring.DIRECT].estimate({"a": 1.0}) == aucs[Scoring.STRICT].estimate({"a": 1.0})
    assert aucs[Scoring.DIRECT].estimate({"a": 0.5, "b": 0.5}) is None
    assert aucs[Scoring.STRICT].estimate({"b": 1.0}) is not None
    assert Scoring.REASONED not in aucs
    assert combine(aucs, {Scoring.STRICT: {"a": 1.0}, Scoring.REASONED: {"a": -1.0}}) is None


def test_combination_over_scorings_is_on_the_same_resamples() -> None:
    table = few_predictions([0.9, 0.2, 0.3, 0.4], [1, 0, 1, 0])
    aucs = bootstrap_aucs(align_held_out({"a": table}), n_replicates=50)
    gap = combine(aucs, {Scoring.STRICT: {"a": 1.0}, Scoring.FORCED: {"a": -1.0}})
    assert gap == Estimate(value=0.0, low=0.0, high=0.0)


def test_row_order_does_not_matter() -> None:
    table = few_predictions([0.9, 0.2, 0.3, 0.4], [1, 0, 0, 0])
    turned = table.at(np.arange(4)[::-1])
    again = replace(table, risks={one: 1 - risks for one, risks in table.risks.items()})
    assert again.shares_examples(table) and not turned.shares_examples(table)
    held_out = align_held_out({"a": table, "b": turned, "c": again})
    np.testing.assert_allclose(held_out.risks[Scoring.STRICT], [[0.9, 0.2, 0.3, 0.4]] * 2 + [[0.1, 0.8, 0.7, 0.6]])


def test_another_salt_moves_no_replicate() -> None:
    """Ids come in another order under another salt; participants are drawn in that of the cohort."""
    table = few_predictions([0.9, 0.2, 0.3, 0.4, 0.6, 0.1], [1, 0, 0, 1, 0, 0])
    salted = replace(
        table,
        example_id=np.array(["e5", "e1", "e4", "e0", "e2", "e3"]),
        participant_id=np.array(["p2", "p2", "p0", "p0", "p1", "p1"]),
    )
    one, other = (
        bootstrap_aucs(align_held_out({"a": each, "b": each.at(np.arange(6)[::-1])}), n_replicates=40, seed=3)
        for each in (table, salted)
    )
    np.testing.assert_array_equal(one[Scoring.FORCED].replicates, other[Scoring.FORCED].replicates)


@pytest.mark.parametrize("rows", [[0, 1, 2], [0, 1, 2, 3, 3]], ids=["fewer", "more"])
def test_trials_on_fewer_or_more_examples_are_refused(rows: list[int]) -> None:
    table = few_predictions([0.9, 0.2, 0.3, 0.4], [1, 0, 0, 0])
    with pytest.raises(StoreError, match="trials/b: "):
        align_held_out({"a": table, "b": table.at(np.array(rows))})


@pytest.mark.parametrize(
    "change",
    [
        {"example_id": np.array(["e0", "e1", "e2", "other"])},
        {"label": np.array([1, 1, 0, 0])},
        {"weight": np.array([1.0, 1.0, 1.0, 2.0])},
    ],
    ids=["examples", "labels", "weights"],
)
def test_trials_on_different_examples_are_refused(change: dict[str, Any]) -> None:
    table = few_predictions([0.9, 0.2, 0.3, 0.4], [1, 0, 0, 0])
    with pytest.raises(StoreError, match=r"trials/b: .*delete outcome.json and run again"):
        align_held_out({"a": table, "b": replace(table, **change)})
