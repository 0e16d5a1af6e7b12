"""The endpoint teacher against a real server on this machine: whom it asks, what it keeps, and when it gives up."""

import json
import stat
from pathlib import Path

import pandas as pd
import pytest

from support.cohorts.histories import labels_of
from support.launches.servers import USAGE, Asked, Replied, answer, completion, reply, serving
from support.launches.teaching import CANARY, GROUNDED, TaughtStudy, always, by_seed, first, taught_study
from workers.contract.errors import InputError
from workers.contract.recipes.teaching import EndpointTeacherRecipe, Supervision, WantedRationales
from workers.contract.trial import EndpointPlace
from workers.examples.endpoint.cache import AnswerCache, KeptAnswer
from workers.examples.endpoint.wording import RESPONSE_FORMAT, SENTENCE_END, TeacherReply, findings_of, tidy
from workers.examples.exam_facts import recorded
from workers.examples.exam_summary import render_prompt
from workers.examples.rationales import write_rationales
from workers.store.published import LABELS, TEXTS, VALUES

UNGROUNDED = "The participant is a smoker, which raises risk. Overall, the risk is raised."


@pytest.fixture
def study(tmp_path: Path) -> TaughtStudy:
    return taught_study(tmp_path / "store")


def told_no(asked: Asked) -> bool:
    return "The answer is no" in asked.user_text


def obey(asked: Asked) -> Replied:
    """Argue for the outcome that the teacher was told."""
    return answer(GROUNDED, says="no" if told_no(asked) else "yes")


def test_only_train_rows_get_a_rationale_from_who_knows_the_outcome(study: TaughtStudy) -> None:
    with serving(obey) as server:
        texts, counts = study.write(server.base_url, label_access="conditioned")
        sent = "".join(asked.user_text for asked in server.asked)
    assert texts["free_form"].tolist() == texts["step_by_step"].tolist() == [GROUNDED] * 4 + ["", ""]
    assert (counts["n_requested"], counts["n_written"]) == (8, 4)
    assert f"{CANARY}4" not in sent
    assert f"{CANARY}5" not in sent


def test_a_blind_teacher_writes_for_tuning_rows_too(study: TaughtStudy) -> None:
    with serving(always(answer(GROUNDED))) as server:
        texts, _ = study.write(server.base_url)
        assert all(f"{CANARY}5" not in asked.user_text for asked in server.asked)
    assert texts["free_form"].tolist() == [GROUNDED] * 5 + [""]
    assert texts["step_by_step"].tolist() == [GROUNDED] * 5 + [""]


@pytest.mark.parametrize(("access", "n_tuning"), [("blind", 1), ("filtered", 0)])
def test_a_teacher_writes_for_who_is_wanted_alone(study: TaughtStudy, access: str, n_tuning: int) -> None:
    labels = labels_of([True, False] * 3, splits="train train train train tuning tuning")
    labels.to_parquet(study.folder / LABELS)
    wanted = WantedRationales(supervision=Supervision.STEP_BY_STEP, split_salt="s", train_size=2, n_probe=2 * n_tuning)
    with serving(always(answer(GROUNDED))) as server:
        texts, counts = study.write(server.base_url, wanted=wanted, label_access=access)
    has_text = texts["step_by_step"] != ""
    assert counts["n_requested"] == 2 + 2 * n_tuning
    assert labels.loc[has_text & (labels["split"] == "tuning")].shape[0] == 2 * n_tuning
    assert (texts["free_form"] == "").all()


def test_only_a_conditioned_teacher_is_told_the_outcome(study: TaughtStudy) -> None:
    with serving(obey) as server:
        study.write(server.base_url, label_access="conditioned")
        conditioned = [told_no(asked) for asked in server.asked]
    with serving(obey) as server:
        study.write(server.base_url, label_access="blind")
        blind = [asked.user_text for asked in server.asked]
    assert sum(conditioned) == 4
    assert not any("The answer is" in text for text in blind)


def test_a_filtered_teacher_keeps_what_agrees_with_the_label(study: TaughtStudy) -> None:
    with serving(always(answer(GROUNDED, says="yes"))) as server:
        texts, counts = study.write(server.base_url, label_access="filtered")
    assert texts["free_form"].tolist() == [GROUNDED, "", GROUNDED, "", "", ""]
    assert (counts["n_kept_events"], counts["n_kept_controls"], counts["n_empty_controls"]) == (4, 0, 4)
    assert (counts["train_events_agreement"], counts["train_controls_agreement"]) == (1.0, 0.0)


def test_a_second_run_sends_nothing_and_writes_the_same(study: TaughtStudy) -> None:
    with serving(always(answer(GROUNDED))) as server:
        texts, counts = study.write(server.base_url)
    again, recounts = study.write(server.base_url)  # nothing listens there any more
    pd.testing.assert_frame_equal(texts, again)
    assert (counts["n_from_cache"], recounts["n_from_cache"]) == (0, 10)
    assert (counts["n_sent"], recounts["n_sent"]) == (10, 0)
    assert counts["prompt_tokens"] == recounts["prompt_tokens"] == 10 * USAGE["prompt_tokens"]


def test_a_run_whose_server_dies_half_way_goes_on_with_what_is_missing(study: TaughtStudy) -> None:
    def dies(asked: Asked) -> Replied:
        if asked.number == 5:
            server.close()
        return answer(GROUNDED) if asked.number <= 5 else Replied(hangs=True)

    with serving(dies) as server, pytest.raises(InputError, match="no connection"):
        study.write(server.base_url)
    n_kept = len(study.kept())
    assert n_kept == 5
    with serving(always(answer(GROUNDED))) as second:
        texts, counts = study.write(second.base_url)
        assert len(second.asked) == 10 - n_kept
    assert counts["n_from_cache"] == n_kept
    assert (texts.iloc[:5] == GROUNDED).all(axis=None)


def test_another_model_revision_or_temperature_is_asked_anew(study: TaughtStudy) -> None:
    with serving(always(answer(GROUNDED))) as server:
        for recipe in ({}, {"model": "other"}, {"revision": "abc"}, {"temperature": 0.1}, {"seed": 1}):
            _, counts = study.write(server.base_url, **recipe)
            assert counts["n_from_cache"] == 0
    assert len(study.kept()) == 50


def test_an_answer_in_parts_is_read_without_its_thoughts(study: TaughtStudy) -> None:
    text = reply(GROUNDED)
    parts = [{"type": "reasoning", "text": "{"}, *({"type": "text", "text": part} for part in (text[:9], text[9:]))]
    with serving(always(completion(parts))) as server:
        texts, counts = study.write(server.base_url)
    assert (texts.iloc[:5] == GROUNDED).all(axis=None)
    assert counts["n_invalid"] == 0


def test_tokens_that_a_server_does_not_count_are_none(study: TaughtStudy) -> None:
    uncounted = completion(reply(GROUNDED), usage={"prompt_tokens": 100, "completion_tokens": None})
    with serving(always(uncounted)) as server:
        _, counts = study.write(server.base_url)
    assert (counts["n_invalid"], counts["prompt_tokens"], counts["completion_tokens"]) == (0, 1000, 0)


def test_what_a_store_beside_was_answered_is_not_asked_again(study: TaughtStudy, tmp_path: Path) -> None:
    with serving(always(answer(GROUNDED))) as server:
        study.write(server.base_url)
    beside = taught_study(tmp_path / "another")
    _, counts = beside.write(server.base_url)  # nothing listens there any more
    assert (counts["n_sent"], counts["n_from_cache"]) == (0, 10)
    assert [path.name for path in beside.kept()] == [path.name for path in study.kept()]


def test_answers_beside_a_store_count_unless_they_are_damaged_or_linked(tmp_path: Path) -> None:
    kept = KeptAnswer(
        answer=TeacherReply(evidence=(), reasoning="one", answer="yes", confidence=1),
        prompt_tokens=1,
        completion_tokens=1,
        is_schema_enforced=True,
    )
    AnswerCache(tmp_path / "beside" / "cache").keep("abcd", kept)
    AnswerCache(tmp_path / "out" / "of" / "sight").keep("linked", kept)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "cache").symlink_to(tmp_path / "out" / "of" / "sight")
    damaged = tmp_path / "beside" / "cache" / "da" / "damaged.json"
    damaged.parent.mkdir()
    damaged.write_text("{")
    cache = AnswerCache.of_store(tmp_path / "ours" / "cache")
    assert (cache.find("abcd"), cache.find("linked"), cache.find("damaged")) == (kept, None, None)
    assert AnswerCache(cache.folder).find("abcd") == kept  # copied: another's store may go
    assert damaged.exists()


def test_kept_answers_are_private_to_the_user(study: TaughtStudy) -> None:
    with serving(always(answer(GROUNDED))) as server:
        study.write(server.base_url)
    assert stat.S_IMODE(study.cache.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in study.kept()} == {0o600}


def test_of_two_answers_to_one_question_the_first_counts(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path)
    one, other = (
        KeptAnswer(
            answer=TeacherReply(evidence=(), reasoning=reasoning, answer="yes", confidence=1),
            prompt_tokens=1,
            completion_tokens=1,
            is_schema_enforced=True,
        )
        for reasoning in ("one", "other")
    )
    assert cache.keep("abcd", one) == one
    assert cache.keep("abcd", other) == one


def test_exam_summaries_are_judged_by_their_own_words(tmp_path: Path) -> None:
    labels_of([True, False], splits="train held_out").to_parquet(tmp_path / LABELS)
    values = pd.DataFrame([{"AGE": 60.0, "SEX": 1.0, "SYSBP": 168.0}] * 2)
    values.to_parquet(tmp_path / VALUES)
    pd.DataFrame({"prompt": [render_prompt(row) for row in recorded(values)]}).to_parquet(tmp_path / TEXTS)
    recipe = EndpointTeacherRecipe(kind="endpoint", model="m", ungrounded="drop")
    kinds = {"paragraph": "Very high systolic pressure 170 raises risk.", "numbered steps": "1. Diabetes raises risk."}

    def behave(asked: Asked) -> Replied:
        assert "1. Man, age 60.\n2. Systolic pressure 170, very high.\n\nQuestion: Cardio" in asked.user_text
        return answer(next(text for kind, text in kinds.items() if kind in asked.user_text))

    with serving(behave) as server:
        place = EndpointPlace(base_url=server.base_url)
        texts, counts = write_rationales(tmp_path, recipe, prompts=tmp_path, endpoint=place, cache=tmp_path / "cache")
    assert texts.to_numpy().tolist() == [[kinds["paragraph"], ""], ["", ""]]
    assert (counts["n_ungrounded"], counts["n_dropped"]) == (1, 1)


def test_a_damaged_answer_is_asked_again(study: TaughtStudy) -> None:
    with serving(always(answer(GROUNDED))) as server:
        study.write(server.base_url)
        study.kept()[0].write_text("{")
        _, counts = study.write(server.base_url)
    assert counts["n_sent"] == 1


@pytest.mark.parametrize("status", [429, 500])
def test_a_busy_server_is_asked_again(study: TaughtStudy, status: int) -> None:
    with serving(first(3, Replied(status), then=answer(GROUNDED))) as server:
        _, counts = study.write(server.base_url)
        assert len(server.asked) == 13
    assert counts["n_invalid"] == 0


def test_retry_after_is_waited_for(study: TaughtStudy) -> None:
    busy = Replied(429, headers={"Retry-After": "1"})
    with serving(first(1, busy, then=answer(GROUNDED))) as server:
        study.write(server.base_url)
        again = [asked for asked in server.asked if asked.body == server.asked[0].body]
    assert again[1].at - again[0].at >= 0.9


@pytest.mark.parametrize(
    "broken",
    [
        completion("I think {yes}"),
        completion(json.dumps({"reasoning": GROUNDED, "answer": "yes"})),
        completion(json.dumps({"evidence": [], "reasoning": GROUNDED, "answer": "maybe", "confidence": 1})),
        answer("Answer: yes"),
        Replied(body="<html>"),
        Replied(body=json.dumps({"choices": [{"message": {"content": None}}]})),
        Replied(body=json.dumps({"choices": [{"message": {"reasoning": "well", "content": None}}]})),
        Replied(body=json.dumps({"choices": [{"message": {}, "finish_reason": "length"}]})),
    ],
)
def test_an_answer_that_is_none_is_asked_again_with_another_seed(study: TaughtStudy, broken: Replied) -> None:
    with serving(by_seed(broken, broken, answer(GROUNDED))) as server:
        texts, counts = study.write(server.base_url)
        assert {asked.body["seed"] for asked in server.asked} == {0, 1, 2}
    assert (texts.iloc[:5] == GROUNDED).all(axis=None)
    assert (counts["n_sent"], counts["n_invalid"]) == (30, 0)
    assert len(study.kept()) == 10
    assert study.write(server.base_url)[1]["n_sent"] == 0  # nor is the invalid first try asked once more


def test_few_invalid_answers_leave_empty_rationales_and_are_counted(study: TaughtStudy) -> None:
    def fails_for_one(asked: Asked) -> Replied:
        is_one = f"{CANARY}0" in asked.user_text and "numbered steps" in asked.user_text
        return completion("{") if is_one else answer(GROUNDED)

    with serving(fails_for_one) as server:
        texts, counts = study.write(server.base_url)
    assert texts.iloc[:1].to_numpy().tolist() == [[GROUNDED, ""]]
    assert (counts["n_invalid"], counts["n_written"], counts["n_sent"]) == (1, 5, 12)


def test_a_conditioned_answer_against_the_outcome_is_none(study: TaughtStudy) -> None:
    with serving(always(answer(GROUNDED, says="no"))) as server, pytest.raises(InputError, match="not the answer"):
        study.write(server.base_url, label_access="conditioned")


def test_an_ungrounded_rationale_is_regenerated_until_it_is_grounded(study: TaughtStudy) -> None:
    with serving(by_seed(answer(UNGROUNDED), answer(UNGROUNDED), answer(GROUNDED))) as server:
        texts, counts = study.write(server.base_url)
    assert (texts.iloc[:5] == GROUNDED).all(axis=None)
    assert (counts["n_regenerated"], counts["n_ungrounded"], counts["n_sent"]) == (20, 0, 30)


def test_after_two_regenerations_the_best_supported_is_kept_and_counted(study: TaughtStudy) -> None:
    half = f"{UNGROUNDED} Hypertension 4 y ago raises risk."
    with serving(by_seed(answer(UNGROUNDED), answer(half), answer(UNGROUNDED))) as server:
        texts, counts = study.write(server.base_url)
    assert (texts.iloc[:5] == half).all(axis=None)
    assert (counts["n_ungrounded"], counts["n_dropped"], counts["n_sent"]) == (10, 0, 30)


@pytest.mark.parametrize(("rule", "text", "n_dropped"), [("keep", UNGROUNDED, 0), ("drop", "", 10)])
def test_an_ungrounded_rationale_is_kept_or_dropped_by_the_recipe(
    study: TaughtStudy, rule: str, text: str, n_dropped: int
) -> None:
    with serving(always(answer(UNGROUNDED))) as server:
        texts, counts = study.write(server.base_url, ungrounded=rule)
    assert (texts.iloc[:5] == text).all(axis=None)
    assert (counts["n_ungrounded"], counts["n_dropped"], counts["n_sent"]) == (10, n_dropped, 10)


def test_evidence_that_the_record_has_not_makes_a_rationale_ungrounded(study: TaughtStudy) -> None:
    with serving(always(answer(GROUNDED, cites=9))) as server:
        _, counts = study.write(server.base_url, ungrounded="keep")
    assert counts["n_ungrounded"] == 10


def test_the_schema_is_sent_until_the_server_refuses_it(study: TaughtStudy) -> None:
    def knows_no_schema(asked: Asked) -> Replied:
        return Replied(400) if "response_format" in asked.body else answer(GROUNDED)

    with serving(always(answer(GROUNDED))) as server:
        _, counts = study.write(server.base_url)
        assert all(asked.body["response_format"] == RESPONSE_FORMAT for asked in server.asked)
    with serving(knows_no_schema) as server:
        _, recounts = study.write(server.base_url, seed=1)
        n_refused = sum("response_format" in asked.body for asked in server.asked)
    assert (counts["n_schema_enforced"], recounts["n_schema_enforced"], recounts["n_invalid"]) == (10, 0, 0)
    assert n_refused < 10  # those that were under way together, and none after


def test_an_unknown_version_of_the_words_is_refused(study: TaughtStudy) -> None:
    with pytest.raises(InputError, match=r"teacher\.version"):
        study.write("http://127.0.0.1:9/v1", version=9)


@pytest.mark.parametrize(
    ("reasoning", "text"),
    [
        ("One two.\n\nThree  four. Answer: yes", "One two. Three four."),
        ("One two. AnswerAnswer:: yes", "One two. Answer"),
        ("One two three. Four five six.", "One two three."),
        ("1. One two. 2. Three four five.", "1. One two."),
        ("One two three four five six.", "One two three four five"),
        ("answer : no. Because.", ""),
    ],
)
def test_a_rationale_is_one_line_of_whole_sentences_without_an_answer(reasoning: str, text: str) -> None:
    for version in SENTENCE_END:
        assert tidy(reasoning, max_words=5, version=version) == text


RECORD = "Man, age 60. Tumour grade 2. Diagnosed 1 y ago. Clark level 4. Will it come back?"


def test_a_finding_that_ends_in_a_digit_is_a_finding_and_no_part_of_the_question() -> None:
    findings, question = findings_of(RECORD, version=2)
    assert (findings[1], findings[3], question) == ("Tumour grade 2.", "Clark level 4.", "Will it come back?")
    assert findings_of(RECORD, version=1)[1] == "Clark level 4. Will it come back?"  # what stored answers were asked


def test_a_later_version_asks_again_only_what_it_words_otherwise(study: TaughtStudy) -> None:
    prompts = pd.read_parquet(study.folder / "prompts" / TEXTS)
    prompts.loc[0, "prompt"] = RECORD
    prompts.to_parquet(study.folder / "prompts" / TEXTS)
    with serving(always(answer(GROUNDED))) as server:
        study.write(server.base_url, version=1)
        _, counts = study.write(server.base_url, version=2)
    assert (counts["n_sent"], counts["n_from_cache"]) == (2, 8)
