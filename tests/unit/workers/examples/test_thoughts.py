"""Thoughts and chat templates: what stands around a record, and where the rationale of a base that thinks goes."""

import pytest

from support.bases import tokenizers as made
from support.bases.brought import RATIONALE, chat, rationale_of, read
from workers.contract.errors import InputError
from workers.contract.recipes.bases import BaseSettings
from workers.contract.recipes.teaching import TargetRecipe
from workers.contract.trial import ObjectiveRecipe
from workers.examples.tokenizing.tokens import answer_tokens
from workers.examples.tokenizing.wrapping import wrapping_of
from workers.scoring.demonstrations import demonstration
from workers.training.views import Scaffold, rationale_views


class TestThoughts:
    closed = "<think>\n\n</think>\n\n"

    @pytest.mark.parametrize(
        ("template", "changes"),
        [(made.R1, {}), (made.QWEN3, {}), (made.QWEN3, {"template_arguments": {"enable_thinking": False}})],
        ids=["opened by the template", "left to the model", "closed by the template"],
    )
    def test_a_prompt_leaves_the_thought_closed_empty(self, template: str, changes: dict[str, object]) -> None:
        settings = chat(**changes)
        wrapping = wrapping_of(settings, made.thinking(template))
        assert wrapping.endswith(f"<|im_start|>assistant\n{self.closed}")
        thought = answer_tokens(made.thinking(template), settings).thought
        assert thought is not None
        assert not thought.is_open

    @pytest.mark.parametrize("template", [made.R1, made.QWEN3], ids=["R1-like", "Qwen3-like"])
    def test_a_rationale_can_be_the_thought_behind_one_prompt_for_all(self, template: str) -> None:
        tokenizer, settings = made.thinking(template), chat(thoughts="rationale")
        answer = answer_tokens(tokenizer, settings)
        assert wrapping_of(settings, tokenizer).endswith("<|im_start|>assistant\n<think>\n")
        explained = answer.target(rationale_of(tokenizer), has_event=True)
        assert read(tokenizer, explained) == f"{RATIONALE}\n</think>\n\nAnswer: yes<|im_end|>"
        assert read(tokenizer, answer.target([], has_event=False)) == "\n</think>\n\nAnswer: no<|im_end|>"

    def test_every_objective_closes_an_open_thought_before_it_answers(self) -> None:
        tokenizer, settings = made.thinking(made.R1), chat(thoughts="rationale")
        words = Scaffold.of(tokenizer, answer_tokens(tokenizer, settings), settings)
        for kind in ("token_mean", "two_view_mix", "multi_task"):
            for ordering in ("rationale_first", "label_first"):
                for view in rationale_views(
                    [1],
                    rationale_of(tokenizer),
                    has_event=True,
                    objective=ObjectiveRecipe.model_validate({"kind": kind}),
                    target=TargetRecipe.model_validate({"ordering": ordering}),
                    words=words,
                ):
                    assert "</think>" in read(tokenizer, view.target).partition("Answer:")[0]

    def test_a_demonstration_closes_its_thought(self) -> None:
        tokenizer, settings = made.thinking(made.R1), chat(thoughts="rationale")
        answer = answer_tokens(tokenizer, settings)
        shown = demonstration([], rationale_of(tokenizer), has_event=True, answer=answer, line_break=[])
        assert read(tokenizer, shown) == f"{RATIONALE}\n</think>\n\nAnswer: yes"

    def test_markers_are_single_tokens_where_the_tokenizer_has_them(self) -> None:
        tokenizer = made.thinking(made.R1)
        thought = answer_tokens(tokenizer, chat()).thought
        assert thought is not None
        assert tokenizer.convert_ids_to_tokens([*thought.opening_ids, *thought.closing_ids]) == ["<think>", "</think>"]

    def test_markers_of_a_base_s_own_can_be_named(self) -> None:
        settings = chat(thought_markers=("<muse>", "</muse>"))
        assert wrapping_of(settings, made.chatml()).endswith("<muse>\n\n</muse>\n\n")

    def test_a_base_that_does_not_think_is_asked_plainly(self) -> None:
        assert wrapping_of(chat(), made.chatml()) == wrapping_of(BaseSettings(prompt_format="chat"), made.chatml())
        assert answer_tokens(made.chatml(), chat()).thought is None

    def test_a_rationale_can_be_no_thought_of_a_base_that_does_not_think(self) -> None:
        with pytest.raises(InputError, match="neither its template nor its tokens mark a thought; name thought_marker"):
            wrapping_of(chat(thoughts="rationale"), made.chatml())

    def test_a_thought_that_the_template_closes_can_be_no_rationale(self) -> None:
        settings = chat(thoughts="rationale", template_arguments={"enable_thinking": False})
        with pytest.raises(InputError, match="closes the thought before the reply; mend template_arguments"):
            wrapping_of(settings, made.thinking(made.QWEN3))


class TestTemplates:
    def test_a_template_without_a_generation_prompt_gets_none(self) -> None:
        wrapping = wrapping_of(chat(), made.chatml(made.WITHOUT_GENERATION_PROMPT))
        assert wrapping == "<|im_start|>user\n{prompt}<|im_end|>\n"

    def test_a_template_that_rejects_a_system_turn_is_given_none(self) -> None:
        assert "{prompt}" in wrapping_of(chat(), made.chatml(made.NO_SYSTEM_TURN))

    def test_content_in_parts_is_written_like_content_in_one(self) -> None:
        assert wrapping_of(chat(), made.chatml(made.IN_PARTS)) == wrapping_of(chat(), made.chatml())
        tokenizer = made.chatml(made.IN_PARTS)
        assert tokenizer.convert_ids_to_tokens(answer_tokens(tokenizer, chat()).end) == "<|im_end|>"

    @pytest.mark.parametrize(
        ("template", "words"),
        [
            (made.NO_LONE_USER, "Begin with a system turn"),
            ("{% if %}", "Expected an expression"),
            ("{{ messages[0].content + 1 }}", "concatenate"),
        ],
        ids=["raises", "does not parse", "fails"],
    )
    def test_a_template_that_refuses_is_quoted(self, template: str, words: str) -> None:
        with pytest.raises(InputError, match=f"its chat template refuses one user turn: .*{words}"):
            wrapping_of(chat(), made.chatml(template))

    def test_an_argument_that_is_the_renderer_s_own_is_refused(self) -> None:
        with pytest.raises(InputError, match="template_arguments name tokenize"):
            wrapping_of(chat(template_arguments={"tokenize": True}), made.chatml())
