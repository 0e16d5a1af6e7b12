"""The five scores: where P(yes) is read, what counts as invalid, and that batching changes nothing."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, PreTrainedModel

from support.studies.orders import micro_spec, micro_training
from workers.contract.answers.proof import RowsTogether
from workers.contract.inputs import InputKind, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Validity
from workers.contract.recipes.bases import Decoding
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import EvaluationRecipe, ObjectiveRecipe
from workers.examples.tokenizing.tokens import AnswerTokens, answer_tokens
from workers.models.architectures import Family, Shape, random_model
from workers.models.base import Base, load
from workers.scoring.cached import MIN_ROWS_TO_SHED
from workers.scoring.evaluating import Questions, tokens_per_batch
from workers.scoring.openers import opener_of
from workers.scoring.scorer import Scored, Scorer
from workers.store.published import folder_of
from workers.work.bench import Bench, Work

MAX_NEW_TOKENS = 12
PLAIN = EvaluationRecipe(max_new_tokens=MAX_NEW_TOKENS)


@pytest.fixture(scope="module")
def base(prepared_store: Path) -> Base:
    torch.set_num_threads(1)
    folder = folder_of(input_recipes(micro_spec())[InputKind.BASE], StoreLayout(prepared_store))
    return load(folder, precision="float32", device=torch.device("cpu"))


@pytest.fixture(scope="module")
def answer(base: Base) -> AnswerTokens:
    return answer_tokens(base.tokenizer)


def scorer_of(
    model: PreTrainedModel | torch.nn.Module,
    base: Base,
    answer: AnswerTokens,
    *,
    together: RowsTogether = RowsTogether.CACHED,
    **how: Any,  # noqa: ANN401  # of the scorer
) -> Scorer:
    return Scorer(opener_of(model, pad_token=answer.end, together=together), base, answer, **how)


class Actor(torch.nn.Module):
    """A model that writes a script: after its prompt of n tokens, row i says the i-th text, whatever it is shown.

    `yes_over_no` is the gap of the logits of " yes" and " no" everywhere, so P(yes) is known.
    """

    def __init__(self, base: Base, scripts: list[str], *, n_prompt: int, yes_over_no: float = 2.0) -> None:
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.config = base.model.config
        self._scripts = [base.tokenizer(text, add_special_tokens=False)["input_ids"] for text in scripts]
        self._end = base.tokenizer.eos_token_id
        self._n_prompt = n_prompt
        self._vocabulary = len(base.tokenizer)
        self._yes, self._no = (base.tokenizer(word)["input_ids"][0] for word in (" yes", " no"))
        self._gap = yes_over_no

    def forward(self, *, attention_mask: torch.Tensor, **_: object) -> SimpleNamespace:
        logits = torch.full((len(attention_mask), 1, self._vocabulary), -100.0)
        for row, n_seen in enumerate(attention_mask.sum(-1).tolist()):
            n_said = n_seen - self._n_prompt
            script = [*self._scripts[row], self._end]
            logits[row, 0, self._yes], logits[row, 0, self._no] = self._gap, 0.0
            logits[row, 0, script[n_said] if n_said < len(script) else self._end] += 200.0
        return SimpleNamespace(logits=logits)


def perform(base: Base, answer: AnswerTokens, *scripts: str) -> Scored:
    prompts = [[7, 8, 9] for _ in scripts]
    model = Actor(base, list(scripts), n_prompt=3)
    scorer = scorer_of(model, base, answer, evaluation=PLAIN)
    (scored,) = scorer.score(prompts, batch_size=len(prompts))
    return scored


@pytest.mark.parametrize(
    ("script", "validity"),
    [
        ("Answer: yes", Validity.VALID),
        ("Man of 50. Overall risk is low.\nAnswer: no", Validity.VALID),
        ("Answer: raised", Validity.LABEL_OUTSIDE_SET),
        ("Answer:", Validity.LABEL_OUTSIDE_SET),
        ("Man of 50.", Validity.NO_DELIMITER),
        ("", Validity.NO_DELIMITER),
        ("The Answer: yes", Validity.NO_DELIMITER),
        ("Man of 50. Man of 50. Man of 50. Man of 50. Man of 50. Man of 50.\nAnswer: yes", Validity.TRUNCATED),
    ],
)
def test_only_a_label_that_the_model_itself_wrote_on_the_answer_line_is_valid(
    base: Base, answer: AnswerTokens, script: str, validity: Validity
) -> None:
    scored = perform(base, answer, script)
    assert scored.validity == [validity]
    assert np.isnan(scored.p_strict[0]) == (validity is not Validity.VALID)
    assert 0 <= scored.p_forced[0] <= 1


def test_strict_and_forced_agree_where_the_model_answers_and_rows_end_at_their_own_time(
    base: Base, answer: AnswerTokens
) -> None:
    scored = perform(base, answer, "Answer: no", "Man of 50. Overall risk is low.\nAnswer: yes", "Man of 50.")
    assert scored.validity == [Validity.VALID, Validity.VALID, Validity.NO_DELIMITER]
    assert scored.p_strict[:2] == pytest.approx(scored.p_forced[:2])
    # The script lifts what is said next by 200: the label that was written has all the probability.
    assert scored.p_strict[:2] == pytest.approx([0.0, 1.0], abs=1e-6)
    assert scored.p_forced[2] == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-6)


def real_prompts(base: Base) -> list[list[int]]:
    texts = [f"{who}, age {age}. Systolic pressure {pressure}0, high. Cardiovascular disease within five years?\n"
             for who in ("Man", "Woman") for age in (40, 70) for pressure in (11, 14)]  # fmt: skip
    texts += [f"Short {number}?" for number in range(3)]
    return [base.tokenizer(text)["input_ids"] for text in texts]


def collected(scorer: Scorer, prompts: list[list[int]], *, batch_size: int) -> Iterator[np.ndarray]:
    forced = np.full(len(prompts), np.nan)
    strict = np.full(len(prompts), np.nan)
    for scored in scorer.score(prompts, batch_size=batch_size):
        forced[scored.rows], strict[scored.rows] = scored.p_forced, scored.p_strict
    yield forced
    yield strict


def test_batches_of_unequal_prompts_score_as_one_by_one(base: Base, answer: AnswerTokens) -> None:
    prompts = real_prompts(base)
    scorer = scorer_of(base.model, base, answer, evaluation=PLAIN)
    one_by_one, together = (list(collected(scorer, prompts, batch_size=size)) for size in (1, len(prompts)))
    assert not np.isnan(one_by_one[0]).any()
    for alone, batched in zip(one_by_one, together, strict=True):
        assert batched == pytest.approx(alone, abs=1e-5, nan_ok=True)


def test_forced_score_equals_a_fresh_forward_pass_over_what_was_written(base: Base, answer: AnswerTokens) -> None:
    """The kept cache, with its masked gaps, gives the logits of a pass without any cache."""
    prompts = real_prompts(base)
    scorer = scorer_of(base.model, base, answer, evaluation=PLAIN)
    (scored,) = scorer.score(prompts, batch_size=len(prompts))
    unanswered = {Validity.NO_DELIMITER, Validity.TRUNCATED}
    assert unanswered & set(scored.validity)
    for row, p_forced, validity in zip(scored.rows, scored.p_forced, scored.validity, strict=True):
        if validity not in unanswered:
            continue
        tokens = list(prompts[row])
        for _ in range(MAX_NEW_TOKENS):
            following = int(base.model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax())
            if following == answer.end:
                break
            tokens.append(following)
        line = answer.forced if len(tokens) > len(prompts[row]) else answer.alone[True][:-1]
        logits = base.model(input_ids=torch.tensor([[*tokens, *line]])).logits[0, -1]
        gap = logits[answer.label_ids[True]].logsumexp(-1) - logits[answer.label_ids[False]].logsumexp(-1)
        assert p_forced == pytest.approx(torch.sigmoid(gap).item(), abs=1e-5)


EVERYTHING = EvaluationRecipe(
    max_new_tokens=MAX_NEW_TOKENS, direct=True, reasoned_tokens=5, marginal_samples=3, marginal_temperature=0.9
)
SAMPLED = Decoding(temperature=0.9, top_p=0.95, seed=3)
COLUMNS = ("p_strict", "p_forced", "off_label_mass")


def everything(
    base: Base,
    answer: AnswerTokens,
    *,
    batch_size: int,
    decoding: Decoding,
    together: RowsTogether = RowsTogether.CACHED,
) -> dict[str, np.ndarray]:
    """All scores of the real prompts, in their order."""
    prompts = real_prompts(base)
    scorer = scorer_of(
        base.model,
        base,
        answer,
        evaluation=EVERYTHING,
        together=together,
        decoding=decoding,
    )
    values = {name: np.full(len(prompts), np.nan) for name in (*COLUMNS, *map(str, EVERYTHING_NAMES))}
    for scored in scorer.score(prompts, batch_size=batch_size):
        for name in COLUMNS:
            values[name][scored.rows] = getattr(scored, name)
        for scoring, part in scored.also.items():
            values[str(scoring)][scored.rows] = part
    return values


EVERYTHING_NAMES = (Scoring.DIRECT, Scoring.REASONED, Scoring.MARGINAL)


def p_yes_after(base: Base, answer: AnswerTokens, tokens: list[int]) -> tuple[float, float]:
    """P(yes) and the mass of neither label, by a pass without any cache."""
    chances = base.model(input_ids=torch.tensor([tokens])).logits[0, -1].double().softmax(-1)
    yes, no = (float(chances[answer.label_ids[label]].sum()) for label in (True, False))
    return yes / (yes + no), 1 - yes - no


def test_nothing_but_strict_and_forced_is_read_unless_asked_for(base: Base, answer: AnswerTokens) -> None:
    scored = perform(base, answer, "Answer: yes", "Man of 50.")
    assert (scored.also, scored.off_label_mass) == ({}, None)


def test_direct_is_read_right_after_the_prompt_and_changes_no_other_score(base: Base, answer: AnswerTokens) -> None:
    prompts = real_prompts(base)
    plain = list(
        collected(
            scorer_of(base.model, base, answer, evaluation=PLAIN),
            prompts,
            batch_size=99,
        )
    )
    scores = everything(base, answer, batch_size=99, decoding=Decoding())
    for row, prompt in enumerate(prompts):
        expected, _ = p_yes_after(base, answer, [*prompt, *answer.alone[True][:-1]])
        assert scores["direct"][row] == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(scores["p_forced"], plain[0])
    assert np.array_equal(scores["p_strict"], plain[1], equal_nan=True)


def test_off_label_mass_is_what_neither_label_gets_where_forced_is_read(base: Base, answer: AnswerTokens) -> None:
    direct = scorer_of(
        base.model,
        base,
        answer,
        evaluation=PLAIN.model_copy(update={"direct": True}),
        writes=False,
    )
    prompts = real_prompts(base)
    (scored,) = direct.score(prompts, batch_size=99)
    assert scored.off_label_mass is not None
    for row, p_forced, mass in zip(scored.rows, scored.p_forced, scored.off_label_mass, strict=True):
        expected = p_yes_after(base, answer, [*prompts[row], *answer.alone[True][:-1]])
        assert (p_forced, mass) == pytest.approx(expected, abs=1e-5)
        assert 0 < mass < 1


def test_a_scorer_that_writes_nothing_gives_the_direct_score_as_strict_and_forced(
    base: Base, answer: AnswerTokens
) -> None:
    scorer = scorer_of(base.model, base, answer, evaluation=PLAIN, writes=False)
    (scored,) = scorer.score(real_prompts(base), batch_size=99)
    expected = everything(base, answer, batch_size=99, decoding=Decoding())["direct"][scored.rows]
    assert np.array_equal(scored.p_strict, expected)
    assert np.array_equal(scored.p_forced, expected)
    assert set(scored.validity) == {Validity.VALID}


def test_reasoned_is_read_after_exactly_so_many_tokens_that_neither_end_nor_answer(
    base: Base, answer: AnswerTokens
) -> None:
    prompts = real_prompts(base)
    scores = everything(base, answer, batch_size=99, decoding=Decoding())
    barred = [answer.end, answer.alone[True][0], answer.after_rationale[True][0]]
    for row, prompt in enumerate(prompts):
        tokens = list(prompt)
        for _ in range(EVERYTHING.reasoned_tokens):
            logits = base.model(input_ids=torch.tensor([tokens])).logits[0, -1]
            logits[barred] = -torch.inf
            tokens.append(int(logits.argmax()))
        expected, _ = p_yes_after(base, answer, [*tokens, *answer.forced])
        assert scores["reasoned"][row] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("decoding", [Decoding(), SAMPLED])
@pytest.mark.parametrize("together", [way for way in RowsTogether if way is not RowsTogether.CACHED])
def test_however_rows_go_through_a_base_they_get_the_same_scores(
    base: Base, answer: AnswerTokens, decoding: Decoding, together: RowsTogether
) -> None:
    on_cache, plainly = (
        everything(base, answer, batch_size=99, decoding=decoding, together=way)
        for way in (RowsTogether.CACHED, together)
    )
    for name, expected in on_cache.items():
        assert plainly[name] == pytest.approx(expected, abs=1e-5, nan_ok=True), name


@pytest.mark.parametrize("decoding", [Decoding(), SAMPLED])
def test_no_score_depends_on_the_batch_not_even_a_sampled_one(
    base: Base, answer: AnswerTokens, decoding: Decoding
) -> None:
    one_by_one, together = (everything(base, answer, batch_size=size, decoding=decoding) for size in (1, 99))
    for name, alone in one_by_one.items():
        assert together[name] == pytest.approx(alone, abs=1e-5, nan_ok=True), name


@pytest.mark.parametrize("decoding", [Decoding(), SAMPLED])
def test_a_prefix_that_went_through_once_scores_as_one_before_every_prompt(
    base: Base, answer: AnswerTokens, decoding: Decoding
) -> None:
    prompts, prefix = real_prompts(base), base.tokenizer("Man of 50. Answer: no\n")["input_ids"]
    scorer = scorer_of(
        base.model,
        base,
        answer,
        evaluation=EVERYTHING,
        decoding=decoding,
    )
    (shared,) = scorer.score(prompts, batch_size=99, prefix=prefix)
    (repeated,) = scorer.score([[*prefix, *prompt] for prompt in prompts], batch_size=99)
    assert np.array_equal(shared.rows, repeated.rows)
    for name in COLUMNS:
        assert getattr(shared, name) == pytest.approx(getattr(repeated, name), abs=1e-5, nan_ok=True), name
    for scoring in EVERYTHING_NAMES:
        assert shared.also[scoring] == pytest.approx(repeated.also[scoring], abs=1e-5), scoring
    (bare,) = scorer.score(prompts, batch_size=99)
    assert not np.allclose(bare.p_forced, shared.p_forced, atol=1e-3)


def test_a_multi_task_adapter_is_asked_by_the_prefix_that_it_learnt_labels_under(prepared_store: Path) -> None:
    objective = ObjectiveRecipe(kind="multi_task")
    plain = micro_spec(Supervision.FREE_FORM)
    specs = (plain, micro_spec(Supervision.FREE_FORM, training=micro_training(objective=objective)))
    layout = StoreLayout(prepared_store)
    works = [Work(spec=spec, layout=layout, folder=prepared_store, bench=Bench()) for spec in specs]
    usual, prefixed = (Questions.of(work, work.base[0]) for work in works)
    assert usual.prefix == []
    assert works[1].base[0].tokenizer.decode(prefixed.prefix) == "[label] "
    assert usual.prompts == prefixed.prompts


@pytest.mark.parametrize("family", Family)
def test_every_architecture_scores_a_batch_behind_a_shared_prefix_as_one_by_one(
    base: Base, answer: AnswerTokens, family: Family
) -> None:
    torch.manual_seed(0)
    shape = Shape(hidden=16, layers=2, heads=2, key_value_heads=1)
    model = random_model(family, shape, vocabulary_size=len(base.tokenizer), end_token=answer.end).eval()
    prompts, prefix = real_prompts(base), [7, 8, 9]
    scorer = scorer_of(
        model, base, answer, evaluation=EVERYTHING.model_copy(update={"max_new_tokens": 6}), decoding=SAMPLED
    )
    (shared,) = scorer.score(prompts, batch_size=len(prompts), prefix=prefix)
    for scored in scorer.score([[*prefix, *prompt] for prompt in prompts], batch_size=1):
        place = shared.rows.tolist().index(scored.rows[0])
        assert shared.p_forced[place] == pytest.approx(scored.p_forced[0], abs=1e-5)
        for scoring in EVERYTHING_NAMES:
            assert shared.also[scoring][place] == pytest.approx(scored.also[scoring][0], abs=1e-5), scoring


SMOLLM2 = LlamaConfig(num_hidden_layers=30, hidden_size=576, num_attention_heads=9, num_key_value_heads=3)


def smollm2_on(device: str, dtype: torch.dtype = torch.float32) -> SimpleNamespace:
    return SimpleNamespace(config=SMOLLM2, dtype=dtype, device=torch.device(device))


def test_a_batch_holds_more_tokens_of_a_smaller_model_and_as_many_as_ever_of_a_large_one(base: Base) -> None:
    assert tokens_per_batch(smollm2_on("cpu")) == 4_096
    assert tokens_per_batch(smollm2_on("cpu", torch.bfloat16)) == 8_192
    assert tokens_per_batch(base.model) == 49_152


@pytest.mark.parametrize(
    ("gib", "share", "n_tokens"), [(140, 1.0, 49_152), (140, 0.18, 36_700), (24, 1.0, 34_952), (2, 0.5, 4_096)]
)
def test_on_a_gpu_a_batch_goes_by_what_the_process_may_take_of_it(
    monkeypatch: pytest.MonkeyPatch, gib: int, share: float, n_tokens: int
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (gib * 2**29, gib * 2**30))
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda: share)
    assert tokens_per_batch(smollm2_on("cuda")) == pytest.approx(n_tokens, abs=1)


def test_a_sampled_score_follows_its_seed(base: Base, answer: AnswerTokens) -> None:
    first, again, other = (
        everything(base, answer, batch_size=4, decoding=SAMPLED.model_copy(update={"seed": seed})) for seed in (3, 3, 4)
    )
    for name in ("p_forced", "reasoned", "marginal"):
        assert np.array_equal(first[name], again[name])
        assert not np.allclose(first[name], other[name])
    assert np.array_equal(first["direct"], other["direct"])


def test_marginal_at_nearly_no_temperature_is_the_greedy_forced_score(base: Base, answer: AnswerTokens) -> None:
    prompts = real_prompts(base)
    cold = PLAIN.model_copy(update={"marginal_samples": 2, "marginal_temperature": 1e-6})
    scorer = scorer_of(base.model, base, answer, evaluation=cold)
    (scored,) = scorer.score(prompts, batch_size=99)
    assert scored.also[Scoring.MARGINAL] == pytest.approx(scored.p_forced, abs=1e-6)


def test_rows_left_behind_by_a_shrinking_batch_score_as_one_by_one(base: Base, answer: AnswerTokens) -> None:
    """Sampled rows end at many different lengths, so a batch of four times the minimum is shed more than once."""
    prompts = [prompt for prompt in real_prompts(base) for _ in range(6)]
    assert len(prompts) > 4 * MIN_ROWS_TO_SHED
    hot = Decoding(temperature=1.5)
    scorer = scorer_of(base.model, base, answer, evaluation=EvaluationRecipe(max_new_tokens=40), decoding=hot)
    one_by_one, together = (list(collected(scorer, prompts, batch_size=size)) for size in (1, len(prompts)))
    for alone, batched in zip(one_by_one, together, strict=True):
        assert batched == pytest.approx(alone, abs=1e-5, nan_ok=True)
