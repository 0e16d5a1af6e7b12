"""What a base writes, heard token by token: its ends, its thoughts, labels of several tokens."""

import pytest
from transformers import PreTrainedTokenizerFast

from support.bases import tokenizers as made
from support.bases.brought import chat, new
from workers.contract.outcome import Validity
from workers.contract.recipes.bases import BaseSettings
from workers.examples.tokenizing.tokens import answer_tokens
from workers.scoring.listening import Answering, Counting

LIMIT = 60


def heard(
    tokenizer: PreTrainedTokenizerFast, settings: BaseSettings, text: str, *, limit: int = LIMIT, ends: bool = True
) -> Answering:
    """A row that writes this text, and then what ends a document."""
    answer = answer_tokens(tokenizer, settings)
    listener = Answering(tokenizer, answer, limit)
    written = tokenizer(text, add_special_tokens=False)["input_ids"]
    for token in [*written, *([tokenizer.eos_token_id] if ends else [])]:
        if not listener.hear(token):
            break
    return listener


class TestEnds:
    def test_a_turn_that_the_base_invents_after_its_own_is_no_answer(self) -> None:
        text = "Low risk.<end_of_turn>\n<start_of_turn>user\nAnswer: yes"
        listener = heard(made.gemma_like(), chat(), text)
        assert listener.validity is Validity.NO_DELIMITER
        assert made.gemma_like().decode(listener.tokens) == "Low risk."

    def test_under_the_old_ends_it_would_have_been(self) -> None:
        text = "Low risk.<end_of_turn>\n<start_of_turn>user\nAnswer: yes"
        assert heard(made.gemma_like(), chat(ends="eos"), text).validity is Validity.VALID


class TestThoughts:
    think = made.thinking(made.R1)

    def test_an_answer_line_inside_a_thought_is_not_the_answer(self) -> None:
        text = "If high, say\nAnswer: yes\nbut it is low.\n</think>\n\nAnswer: no"
        listener = heard(self.think, chat(thoughts="rationale"), text)
        assert listener.validity is Validity.VALID
        assert self.think.decode(listener.tokens).endswith("</think>\n\nAnswer:")

    def test_one_that_the_base_opens_again_by_itself_is_a_thought_too(self) -> None:
        text = "<think>\nAnswer: yes\n</think>\n\nAnswer: no"
        listener = heard(self.think, chat(), text)
        assert listener.validity is Validity.VALID
        assert self.think.decode(listener.tokens).count("Answer:") == 2

    def test_an_answer_may_follow_the_thought_at_once(self) -> None:
        assert heard(self.think, chat(thoughts="rationale"), "low</think>Answer: no").validity is Validity.VALID

    def test_a_thought_cut_off_at_the_limit_is_an_invalid_kind_of_its_own_and_is_closed_before_the_forced_line(
        self,
    ) -> None:
        listener = heard(self.think, chat(thoughts="rationale"), "Woman of 60. " * 20, limit=12, ends=False)
        assert listener.validity is Validity.THOUGHT_CUT_OFF
        assert self.think.decode(listener.line_to_force) == "\n</think>\n\nAnswer:"

    def test_a_text_cut_off_after_its_thought_is_truncated_as_ever(self) -> None:
        text = "low\n</think>\n\n" + "Woman of 60. " * 20
        listener = heard(self.think, chat(thoughts="rationale"), text, limit=20, ends=False)
        assert listener.validity is Validity.TRUNCATED
        assert self.think.decode(listener.line_to_force) == "\nAnswer:"

    def test_nothing_but_a_thought_is_answered_on_its_next_line(self) -> None:
        listener = heard(self.think, chat(thoughts="rationale"), "low\n</think>")
        assert listener.validity is Validity.NO_DELIMITER
        assert self.think.decode(listener.line_to_force) == "Answer:"

    def test_without_markers_asked_for_a_thought_is_text_like_any_other(self) -> None:
        assert heard(self.think, chat(thoughts="unmarked"), "<think>\nAnswer: yes").validity is Validity.VALID


class TestLabels:
    @pytest.mark.parametrize(
        ("said", "validity"),
        [("yes", Validity.VALID), ("no", Validity.VALID), ("yea", Validity.LABEL_OUTSIDE_SET)],
    )
    def test_a_label_of_several_tokens_is_heard_to_its_end(self, said: str, validity: Validity) -> None:
        tokenizer = made.by_bytes()
        listener = heard(tokenizer, new(thoughts="unmarked"), f"low\nAnswer: {said}", ends=False)
        assert listener.validity is validity
        assert tokenizer.decode(listener.tokens).rstrip() == "low\nAnswer:"

    def test_one_that_breaks_off_is_outside_the_set(self) -> None:
        listener = heard(made.by_bytes(), new(thoughts="unmarked"), "Answer: ye")
        assert listener.validity is Validity.LABEL_OUTSIDE_SET


def test_a_count_hears_exactly_so_many_tokens() -> None:
    listener = Counting(3)
    assert [listener.hear(token) for token in (7, 8, 9)] == [True, True, False]
    assert listener.tokens == [7, 8, 9]
