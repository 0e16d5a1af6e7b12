"""Tokens of prompts, rationales and answers, for tokenizers and templates of every kind that people bring."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from support.bases import tokenizers as made
from support.bases.brought import RATIONALE, RECORD, chat, new, prompt_of, rationale_of, read
from workers.contract.errors import InputError
from workers.contract.recipes.bases import BaseSettings
from workers.contract.recipes.teaching import TargetRecipe
from workers.contract.trial import ObjectiveRecipe
from workers.examples.tokenizing.encoding import Encoder
from workers.examples.tokenizing.tokens import answer_tokens
from workers.training.objectives import collate
from workers.training.views import Scaffold, label_views, rationale_views

ANY_ANSWER_LINE = {
    "byte-level": made.byte_level,
    "metaspace always": lambda: made.metaspace("always"),
    "metaspace first": lambda: made.metaspace("first"),
    "metaspace never": lambda: made.metaspace("never"),
    "Llama-like": made.llama_like,
    "Llama-3-like": made.llama3_like,
    "Gemma-like": made.gemma_like,
    "ChatML": made.chatml,
    "by bytes": made.by_bytes,
}
every_kind = pytest.mark.parametrize("make", ANY_ANSWER_LINE.values(), ids=ANY_ANSWER_LINE.keys())
Make = Callable[[], PreTrainedTokenizerFast]


def test_an_end_of_text_within_the_answer_line_is_refused(tmp_path: Path) -> None:
    tokenizer = made.chatml()
    (line_break,) = tokenizer("\n", add_special_tokens=False)["input_ids"]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, line_break]}))
    with pytest.raises(InputError, match=r"the end of text '\\n' is a part of the answer line; mend eos_token_id"):
        answer_tokens(tokenizer, new(), folder=tmp_path)


class TestAnswerLine:
    @every_kind
    def test_a_whole_text_reads_as_it_was_meant(self, make: Make) -> None:
        tokenizer, settings = make(), new()
        answer = answer_tokens(tokenizer, settings)
        target = answer.target(rationale_of(tokenizer), has_event=True)[:-1]
        whole = read(tokenizer, [*prompt_of(tokenizer, settings), *target])
        assert whole == f"{RECORD}\n{RATIONALE}\nAnswer: yes"

    @every_kind
    def test_what_is_before_the_label_ends_in_the_delimiter_and_a_spelling_completes_it(self, make: Make) -> None:
        tokenizer = make()
        answer = answer_tokens(tokenizer, new())
        assert read(tokenizer, answer.opening).strip() == "Answer:"
        assert answer.forced[-1] == answer.opening[-1]
        for label, word in ((True, "yes"), (False, "no")):
            assert [*answer.opening, *answer.label(has_event=label)] == answer.alone[label]
            assert answer.label(has_event=label) in answer.spellings[label]
            assert answer.after_rationale[label][: len(answer.forced)] == answer.forced
            assert read(tokenizer, answer.alone[label]).strip() == f"Answer: {word}"

    @every_kind
    def test_spellings_come_in_pairs_and_once_each(self, make: Make) -> None:
        spellings = answer_tokens(make(), new()).spellings
        pairs = list(zip(spellings[True], spellings[False], strict=True))
        assert all(pairs.count(pair) == 1 for pair in pairs)

    def test_labels_of_several_tokens_are_no_refusal(self) -> None:
        answer = answer_tokens(made.by_bytes(), new())
        assert answer.label_ids == {True: [], False: []}
        assert [len(one) for one in answer.spellings[True]] == [4, 4, 3, 3]
        assert answer_tokens(made.by_bytes()).spellings == answer.spellings

    def test_a_label_that_begins_the_other_is_refused(self) -> None:
        with pytest.raises(InputError, match="begin those of a 'no', or agree; mend label_spellings"):
            answer_tokens(made.by_bytes(), new(label_spellings=[[" no", " not"]]))

    def test_a_spelling_without_a_token_is_refused(self) -> None:
        with pytest.raises(InputError, match="no token at all"):
            answer_tokens(made.byte_level(), new(label_spellings=[["", " no"]]))

    def test_a_tokenizer_that_loses_line_breaks_is_refused(self) -> None:
        with pytest.raises(InputError, match=r"does not give '\\nAnswer: yes' back"):
            answer_tokens(made.word_piece(), new())

    def test_the_first_stored_trials_had_a_space_before_the_line_break(self) -> None:
        tokenizer = made.metaspace("always")
        old = answer_tokens(tokenizer)
        assert tokenizer.convert_ids_to_tokens(old.after_rationale[True])[0].startswith("▁")
        assert tokenizer.convert_ids_to_tokens(answer_tokens(tokenizer, new()).after_rationale[True])[0] != "▁"

    def test_the_old_way_counts_single_tokens_alone_and_begins_with_nothing(self) -> None:
        tokenizer = made.gemma_like()
        answer = answer_tokens(tokenizer)
        assert answer.spellings == {label: [[token] for token in answer.label_ids[label]] for label in (True, False)}
        assert (answer.bos, answer.ends, answer.thought) == ([], frozenset({tokenizer.eos_token_id}), None)
        assert answer.opening == answer.alone[True][:-1]

    def test_loss_falls_on_every_token_of_a_label(self) -> None:
        tokenizer = made.by_bytes()
        words = Scaffold.of(tokenizer, answer_tokens(tokenizer, new()), new())
        (view,) = label_views([1], has_event=True, words=words)
        batch = collate([view], pad_token=0)
        assert read(tokenizer, batch.labels[batch.is_label].tolist()) == " yes"


class TestBeginning:
    @pytest.mark.parametrize(
        ("make", "first"),
        [(made.llama_like, "<s>"), (made.llama3_like, "<|begin_of_text|>"), (made.gemma_like, "<bos>")],
    )
    @pytest.mark.parametrize("prompt_format", ["{prompt}\n", "chat"])
    def test_a_prompt_begins_once_as_the_tokenizer_begins_its_texts(
        self, make: Make, first: str, prompt_format: str
    ) -> None:
        tokenizer = make()
        if prompt_format == "chat" and not tokenizer.chat_template:
            return
        settings = new(prompt_format=prompt_format)
        begun = answer_tokens(tokenizer, settings).bos
        assert tokenizer.convert_ids_to_tokens(begun) == [first]
        assert begun[0] not in prompt_of(tokenizer, settings)

    def test_a_tokenizer_that_begins_with_nothing_gets_nothing(self) -> None:
        assert answer_tokens(made.chatml(), chat()).bos == []

    def test_a_beginning_that_only_the_template_writes_counts(self) -> None:
        tokenizer = made.byte_level(special=["<bos>"], template="{{ bos_token }}" + made.CHATML)
        tokenizer.bos_token = "<bos>"
        assert tokenizer.convert_ids_to_tokens(answer_tokens(tokenizer, chat()).bos) == ["<bos>"]
        assert tokenizer.bos_token_id not in prompt_of(tokenizer, chat())

    @pytest.mark.parametrize("objective", ["token_mean", "two_view_mix", "multi_task"])
    def test_the_beginning_stands_before_every_task_prefix_and_once(self, objective: str) -> None:
        tokenizer = made.gemma_like()
        answer = answer_tokens(tokenizer, chat())
        views = rationale_views(
            prompt_of(tokenizer, chat()),
            rationale_of(tokenizer),
            has_event=True,
            objective=ObjectiveRecipe.model_validate({"kind": objective}),
            target=TargetRecipe(),
            words=Scaffold.of(tokenizer, answer, chat()),
        )
        for view in views:
            assert view.prompt[:1] == answer.bos
            assert view.prompt.count(answer.bos[0]) == 1

    def test_the_old_way_leaves_a_template_s_beginning_where_it_was(self) -> None:
        tokenizer = made.llama3_like()
        assert prompt_of(tokenizer, BaseSettings(prompt_format="chat"))[0] == tokenizer.bos_token_id


class TestEnds:
    def test_a_target_ends_as_the_template_ends_a_turn(self) -> None:
        tokenizer = made.gemma_like()
        answer = answer_tokens(tokenizer, chat())
        assert tokenizer.convert_ids_to_tokens(answer.end) == "<end_of_turn>"
        assert {*tokenizer.convert_ids_to_tokens(sorted(answer.ends))} == {"<eos>", "<end_of_turn>"}

    def test_without_a_chat_template_in_use_a_target_ends_in_eos(self) -> None:
        tokenizer = made.gemma_like()
        answer = answer_tokens(tokenizer, new())
        assert tokenizer.convert_ids_to_tokens(answer.end) == "<eos>"
        assert tokenizer.convert_tokens_to_ids("<end_of_turn>") in answer.ends

    @pytest.mark.parametrize(
        ("written", "named"),
        [('{"eos_token_id": 2}', {2}), ('{"eos_token_id": [2, 3, 99999]}', {2, 3}), ("{}", set()), ("{", set())],
    )
    def test_the_generation_config_may_name_more_ends(self, written: str, named: set[int], tmp_path: Path) -> None:
        (tmp_path / "generation_config.json").write_text(written)
        tokenizer = made.byte_level()
        assert answer_tokens(tokenizer, new(), folder=tmp_path).ends == {tokenizer.eos_token_id} | named

    def test_a_base_that_nothing_ends_is_refused(self, tmp_path: Path) -> None:
        tokenizer = made.byte_level(eos=None)
        with pytest.raises(InputError, match="names no eos token; write ends: all"):
            answer_tokens(tokenizer)
        with pytest.raises(InputError, match="nor its chat template names a token that ends a text"):
            answer_tokens(tokenizer, new())
        (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": 7}))
        assert answer_tokens(tokenizer, new(), folder=tmp_path).end == 7


class TestDataText:
    @pytest.mark.parametrize("make", [made.gemma_like, lambda: made.thinking(made.CHATML), made.llama3_like])
    @pytest.mark.parametrize("steering", ["<end_of_turn>", "<|im_end|>", "<think>", "</think>", "<|eot_id|>"])
    def test_a_record_or_rationale_that_reads_like_a_control_token_stays_text(self, make: Make, steering: str) -> None:
        tokenizer = make()
        encoder = Encoder.of(tokenizer, chat())
        usual, odd = prompt_of(tokenizer, chat()), prompt_of(tokenizer, chat(), f"Code {steering} of{steering}.")
        assert encoder.n_controls(odd) == encoder.n_controls(usual)
        assert f"Code {steering} of{steering}." in read(tokenizer, odd)
        rationale = rationale_of(tokenizer, f"Because {steering}.")
        assert encoder.n_controls(rationale) == 0
        assert read(tokenizer, rationale) == f"Because {steering}."

    def test_by_the_older_way_such_text_is_refused_and_what_keeps_it_is_named(self) -> None:
        encoder, wrapping = Encoder(made.chatml(), "parsed"), "<|im_start|>{prompt}<|im_end|>"
        assert encoder.wrapped(["code"], wrapping)
        assert encoder.continuations(["code"])
        said = "1 texts hold what its tokenizer takes for a control token; write `special_tokens: split`"
        with pytest.raises(InputError, match=said):
            encoder.wrapped(["code", "code <|im_end|>"], wrapping)
        with pytest.raises(InputError, match=said):
            encoder.continuations(["code", "code <|im_end|>"])

    @pytest.mark.parametrize("scheme", ["always", "first", "never"])
    def test_cut_text_gets_no_space_from_a_tokenizer_that_writes_one(self, scheme: str) -> None:
        tokenizer = made.metaspace(scheme)
        rationale = rationale_of(tokenizer, "risk</s> is high")
        assert tokenizer.eos_token_id not in rationale
        assert read(tokenizer, [*rationale_of(tokenizer, "x"), *rationale]) == "xrisk</s> is high"

    def test_an_ordinary_record_is_tokenised_as_the_tokenizer_s_makers_do_it(self) -> None:
        tokenizer = made.gemma_like()
        turns = [{"role": "user", "content": RECORD}]
        theirs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        assert [*answer_tokens(tokenizer, chat()).bos, *prompt_of(tokenizer, chat())] == theirs
