"""Inputs once a store: built once, private, refused with a remedy, and never two versions of one recipe."""

import errno
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

from support.places import FRAMINGHAM
from support.stores.file_systems import made_though_answered
from support.studies.orders import EVALUATION, comparator_spec, micro_spec, order_of
from workers.contract.errors import InputError, Problem, StoreError
from workers.contract.inputs import InputKind, InputRecipe, Manifest, Stage, input_recipes, is_prepared
from workers.contract.layout import StoreLayout
from workers.contract.recipes.bases import FolderBase
from workers.contract.recipes.teaching import EndpointTeacherRecipe, Supervision
from workers.contract.system.durable import file_digests
from workers.contract.trial import EvaluationRecipe, Method, TrialSpec
from workers.examples.targets import target_text
from workers.examples.tokenizing.tokens import answer_tokens
from workers.models.base import context_tokens, load_tokenizer, sketch
from workers.preparing.prepare import kinds_of, make, prepare
from workers.preparing.sketches import Sketches
from workers.preparing.workshop import Workshop
from workers.store.published import LABELS, TEXTS, TOKENS, folder_of, publish, verified_folder

FREE_FORM = micro_spec(Supervision.FREE_FORM)
RECIPES = input_recipes(FREE_FORM)


def evaluation(max_new_tokens: int) -> EvaluationRecipe:
    return EVALUATION.model_copy(update={"max_new_tokens": max_new_tokens})


def snapshot(folder: Path) -> dict[str, int]:
    """Every path below a folder, and when it was last changed."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def problems_of(store: Path, *specs: TrialSpec, source: Path = FRAMINGHAM) -> tuple[Problem, ...]:
    """What preparing these trials is refused with, all in one error."""
    with pytest.raises(InputError) as caught:
        prepare([order_of(spec, store, source=source) for spec in specs])
    assert all(problem.remedy for problem in caught.value.problems)
    return caught.value.problems


class TestOnce:
    def test_preparing_again_builds_nothing(self, store: Path) -> None:
        before = snapshot(store / "inputs")
        prepare(order_of(micro_spec(supervision), store) for supervision in Supervision)
        assert snapshot(store / "inputs") == before

    def test_trials_of_one_cohort_share_their_inputs(self, store: Path) -> None:
        before = snapshot(store / "inputs")
        prepare([order_of(comparator_spec(method), store) for method in (Method.AGE_SEX, Method.ZERO_SHOT)])
        assert snapshot(store / "inputs") == before

    def test_a_comparator_without_a_base_needs_the_cohort_alone(self, tmp_path: Path) -> None:
        spec = comparator_spec(Method.LOGISTIC)
        assert not is_prepared(spec, StoreLayout(tmp_path))
        prepare([order_of(spec, tmp_path)])
        assert is_prepared(spec, StoreLayout(tmp_path))
        assert [path.name for path in (tmp_path / "inputs").iterdir()] == [RECIPES[InputKind.COHORT].digest()]

    def test_manifests_tell_the_truth_about_their_files(self, prepared_store: Path) -> None:
        for kind, recipe in RECIPES.items():
            manifest = manifest_of(recipe, prepared_store)
            assert manifest.recipe.kind == kind
            assert manifest.files == file_digests(folder_of(recipe, StoreLayout(prepared_store)))

    def test_the_cohort_is_counted_by_split(self, prepared_store: Path) -> None:
        counts = manifest_of(RECIPES[InputKind.COHORT], prepared_store).counts
        splits = ("train", "tuning", "held_out")
        for figure, expected in (("n_examples", 10_656), ("n_participants", 4_209), ("n_events", 550)):
            assert counts[figure] == sum(int(counts[f"{split}_{figure}"]) for split in splits) == expected

    def test_folders_with_participants_are_private(self, prepared_store: Path) -> None:
        folders = [folder_of(recipe, StoreLayout(prepared_store)) for recipe in RECIPES.values()]
        assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}

    def test_what_is_not_prepared_is_a_store_error(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="not prepared; run `python -m workers prepare`"):
            folder_of(RECIPES[InputKind.COHORT], StoreLayout(tmp_path))


class TestTokens:
    def test_a_tokenised_prompt_reads_as_the_prompt(self, prepared_store: Path) -> None:
        texts, tokens = table(prepared_store, InputKind.PROMPTS, TEXTS), table(prepared_store, InputKind.PROMPT_TOKENS)
        decode = load_tokenizer(folder_of(RECIPES[InputKind.BASE], StoreLayout(prepared_store))).decode
        for row in range(0, len(texts), 50):
            assert decode(tokens["prompt"].iloc[row].tolist()) == texts["prompt"].iloc[row] + "\n"

    @pytest.mark.parametrize("supervision", Supervision)
    @pytest.mark.parametrize("has_event", [True, False])
    def test_a_tokenised_target_reads_as_the_target(
        self, supervision: Supervision, has_event: bool, prepared_store: Path
    ) -> None:
        tokenizer = load_tokenizer(folder_of(RECIPES[InputKind.BASE], StoreLayout(prepared_store)))
        answer = answer_tokens(tokenizer)
        texts = table(prepared_store, InputKind.RATIONALES, TEXTS)
        tokens = table(prepared_store, InputKind.RATIONALE_TOKENS)
        is_train = table(prepared_store, InputKind.COHORT, LABELS)["split"] == "train"
        for row in is_train.index[is_train][::100]:
            with_rationale = supervision in texts
            rationale = texts[supervision].iloc[row] if with_rationale else ""
            ids = answer.target(tokens[supervision].iloc[row].tolist() if with_rationale else [], has_event=has_event)
            assert ids[-1] == answer.end
            assert tokenizer.decode(ids[:-1]) == target_text(rationale, has_event=has_event)

    def test_yes_and_no_are_one_token_each_in_the_same_place(self, prepared_store: Path) -> None:
        answer = answer_tokens(load_tokenizer(folder_of(RECIPES[InputKind.BASE], StoreLayout(prepared_store))))
        assert not set(answer.label_ids[True]) & set(answer.label_ids[False])
        for spelled in (answer.alone, answer.after_rationale):
            assert spelled[True][:-1] == spelled[False][:-1]
            assert all(spelled[label][-1] in answer.label_ids[label] for label in (True, False))


class TestRefusals:
    @pytest.mark.parametrize(
        ("spec", "where", "what", "remedy"),
        [
            (micro_spec(train_size=774), "axes.train_size", "774 is larger", "use at most 772"),
            (
                micro_spec(Supervision.STEP_BY_STEP, evaluation=evaluation(20)),
                "evaluation.max_new_tokens",
                "20 is shorter than the longest step_by_step target",
                "teacher.max_words",
            ),
            (
                micro_spec(evaluation=evaluation(4)),
                "evaluation.max_new_tokens",
                "4 is shorter than the longest label_only target, 5 tokens",
                "use at least 5",
            ),
            (
                comparator_spec(Method.ZERO_SHOT, evaluation=evaluation(4)),
                "evaluation.max_new_tokens",
                "4 is shorter than the longest zero_shot target, 5 tokens",
                "use at least 5",
            ),
            (
                micro_spec(evaluation=evaluation(4000)),
                "bases",
                "tokens, the base holds 256",
                "lower evaluation.max_new_tokens",
            ),
        ],
        ids=["train size", "rationale too long", "answer too long", "zero-shot answer too long", "context too short"],
    )
    def test_a_trial_that_does_not_fit_is_refused(
        self, spec: TrialSpec, where: str, what: str, remedy: str, store: Path
    ) -> None:
        (problem,) = problems_of(store, spec)
        assert problem.where == where
        assert what in problem.what
        assert remedy in problem.remedy

    def test_problems_of_several_orders_come_together_and_once(self, store: Path) -> None:
        too_large, too_short, too_long = (
            micro_spec(train_size=5000),
            micro_spec(Supervision.FREE_FORM, evaluation=evaluation(8)),
            micro_spec(evaluation=evaluation(4000)),
        )
        found = problems_of(store, too_large, micro_spec(), too_short, too_long, too_large)
        assert [problem.where for problem in found] == ["axes.train_size", "evaluation.max_new_tokens", "bases"]

    def test_the_largest_train_size_fits(self, store: Path) -> None:
        prepare([order_of(micro_spec(train_size=772), store)])

    def test_a_missing_source_is_refused(self, tmp_path: Path) -> None:
        (problem,) = problems_of(tmp_path / "store", FREE_FORM, source=tmp_path / "absent.csv")
        assert problem.where == "cohort"
        assert "absent.csv is missing on this node" in problem.what

    def test_a_source_that_no_order_names_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no path is given .*make data"):
            prepare([order_of(FREE_FORM, tmp_path).model_copy(update={"sources": {}})])

    def test_a_source_with_other_content_is_refused_and_nothing_of_it_stays(self, tmp_path: Path) -> None:
        other = tmp_path / "other.csv"
        other.write_bytes(FRAMINGHAM.read_bytes() + b"\n")
        (problem,) = problems_of(tmp_path / "store", FREE_FORM, source=other)
        assert "hashes to " in problem.what
        assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
        assert not list((tmp_path / "store" / "inputs").glob("*/*"))


class TestBeforeAnyBase:
    """What can be known of a trial without its base is known before the base is made."""

    def test_a_prompt_too_long_for_its_base_is_refused_before_the_base_is_made(self, tmp_path: Path) -> None:
        (problem,) = problems_of(tmp_path, micro_spec(evaluation=evaluation(4000)))
        assert problem.where == "bases"
        assert "tokens and its answer up to 4005, together" in problem.what
        made = {kind for kind, recipe in RECIPES.items() if StoreLayout(tmp_path).manifest(recipe.digest()).exists()}
        assert made == {InputKind.COHORT, InputKind.PROMPTS, InputKind.PROMPT_TOKENS}

    def test_a_sketch_says_what_the_made_base_says(self, prepared_store: Path, tmp_path: Path) -> None:
        made = folder_of(RECIPES[InputKind.BASE], StoreLayout(prepared_store))
        assert FREE_FORM.base is not None
        sketch(FREE_FORM.base, tmp_path, sources={})
        assert not list(tmp_path.glob("*.safetensors"))
        assert context_tokens(tmp_path) == context_tokens(made)
        texts = [*table(prepared_store, InputKind.PROMPTS, TEXTS)["prompt"][::500], "Man, age 70. " * 200]
        drawn, real = (load_tokenizer(folder)(texts)["input_ids"] for folder in (tmp_path, made))
        assert drawn == real
        assert len(real[-1]) > context_tokens(made)

    def test_each_trial_has_its_own_problems(self, store: Path) -> None:
        fitting, too_long = micro_spec(), micro_spec(evaluation=evaluation(4000))
        orders = [order_of(spec, store) for spec in (fitting, too_long)]
        for stage in Stage:
            assert list(make(orders, stage)) == [too_long.trial_id]

    def test_an_input_that_cannot_be_made_is_tried_once_and_refuses_all_who_need_it(self, tmp_path: Path) -> None:
        absent = tmp_path / "absent.csv"
        specs = [micro_spec(supervision) for supervision in Supervision]
        unfit = make([order_of(spec, tmp_path / "store", source=absent) for spec in specs], Stage.TEXTS)
        assert set(unfit) == {spec.trial_id for spec in specs}
        assert len({id(problems[0]) for problems in unfit.values()}) == 1

    def test_a_problem_stands_at_its_bases_name(self, tmp_path: Path) -> None:
        spec = micro_spec(base=FolderBase(kind="folder", sha256="0f" * 32))
        order = order_of(spec, tmp_path)
        named = order.trial.model_copy(update={"coordinates": {"base": "ours"}})
        unfit = make([order.model_copy(update={"trial": named})], Stage.TEXTS)
        (problem,) = unfit[spec.trial_id]
        assert problem.where == "bases.ours"

    def test_only_a_language_model_writes_after_the_bases_are_proved(self) -> None:
        asked = micro_spec(Supervision.FREE_FORM, teacher=EndpointTeacherRecipe(kind="endpoint", model="m"))
        made = (InputKind.BASE, InputKind.PROOF, InputKind.TEACHER_BASE, InputKind.TEACHER_PROOF)
        assert kinds_of(Stage.BASES, FREE_FORM) == made
        assert kinds_of(Stage.BASES, asked) == (*made, InputKind.RATIONALES, InputKind.RATIONALE_TOKENS)
        for spec in (FREE_FORM, asked):
            assert sorted([*kinds_of(Stage.TEXTS, spec), *kinds_of(Stage.BASES, spec)]) == sorted(InputKind)


@dataclass(frozen=True)
class LateStore(StoreLayout):
    """A store whose manifests appear only after this node has looked for them once: another node was faster."""

    late: str
    asked: list[str] = field(default_factory=list)

    def manifest(self, recipe_digest: str) -> Path:
        """Nowhere at the first look, then where it is."""
        self.asked.append(recipe_digest)
        is_first = recipe_digest == self.late and self.asked.count(recipe_digest) == 1
        return self.root / "not yet" if is_first else super().manifest(recipe_digest)


class TestTwoPublishers:
    @pytest.mark.parametrize("kind", [InputKind.COHORT, InputKind.PROMPTS, InputKind.RATIONALE_TOKENS])
    def test_the_second_publisher_of_the_same_content_gives_way(self, kind: InputKind, store: Path) -> None:
        before = snapshot(store / "inputs" / RECIPES[kind].digest())
        publish_second(RECIPES[kind], store)
        assert snapshot(store / "inputs" / RECIPES[kind].digest()) == before

    def test_the_second_publisher_of_other_content_is_an_error(self, store: Path) -> None:
        recipe = RECIPES[InputKind.PROMPTS]
        edit_manifest(recipe, store, lambda body: body["files"].update({TEXTS: "0" * 64}))
        with pytest.raises(StoreError, match="two nodes made different files"):
            publish_second(recipe, store)
        assert manifest_of(recipe, store).files == {TEXTS: "0" * 64}

    @pytest.mark.parametrize("code", [errno.EEXIST, errno.EIO])
    def test_what_was_published_stays_whole_whatever_the_file_system_answers(
        self, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recipe, layout = RECIPES[InputKind.PROMPTS], StoreLayout(tmp_path)
        with monkeypatch.context() as patch, suppress(OSError):
            patch.setattr("os.link", made_though_answered(OSError(code, os.strerror(code))))
            publish(recipe, layout, lambda folder: {"n_bytes": (folder / TEXTS).write_bytes(b"texts")})
        assert verified_folder(recipe, layout).is_dir()

    def test_a_torn_manifest_is_an_error_that_says_what_to_do(self, store: Path) -> None:
        path = StoreLayout(store).manifest(RECIPES[InputKind.COHORT].digest())
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(StoreError, match=r"unreadable manifest .* delete its folder"):
            prepare([order_of(FREE_FORM, store)])


def publish_second(recipe: InputRecipe, store: Path) -> None:
    """Build an input that another node publishes in the meantime."""
    layout = LateStore(store, recipe.digest())
    with Sketches.opened() as sketches:
        publish(recipe, layout, Workshop(layout, order_of(FREE_FORM, store), sketches).builder(recipe.kind))


def manifest_of(recipe: InputRecipe, store: Path) -> Manifest:
    manifest = Manifest.load(StoreLayout(store).manifest(recipe.digest()))
    assert manifest is not None
    return manifest


def edit_manifest(recipe: InputRecipe, store: Path, change: Callable[[dict[str, dict[str, str]]], None]) -> None:
    path = StoreLayout(store).manifest(recipe.digest())
    body = json.loads(path.read_bytes()) | {"checksum": ""}
    change(body)
    path.write_text(json.dumps(body))


def table(store: Path, kind: InputKind, name: str = TOKENS) -> pd.DataFrame:
    return pd.read_parquet(folder_of(RECIPES[kind], StoreLayout(store)) / name)
