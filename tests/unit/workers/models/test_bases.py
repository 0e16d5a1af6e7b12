"""Base models: the clinical architectures score alike alone and in a batch; folders, hubs and chat templates."""

import hashlib
import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from workers.cohort.adrd.lexicon import ADRD_LEXICON
from workers.contract.errors import InputError
from workers.contract.recipes.bases import BaseSettings, FolderBase, HubBase
from workers.contract.recipes.teaching import Supervision, TemplateTeacherRecipe
from workers.contract.system.sources import digest_of_place
from workers.contract.trial import EvaluationRecipe, LoraRecipe
from workers.examples.facts import Case
from workers.examples.history import facts_of_items, knowledge_of, write_history
from workers.examples.template.teacher import TemplateTeacher
from workers.examples.tokenizing.tokens import AnswerTokens, answer_tokens, tokenise
from workers.examples.tokenizing.wrapping import wrapping_of
from workers.models.adapters import fresh_adapter
from workers.models.architectures import Family, Shape, random_model
from workers.models.base import Base, load, materialise, sketch
from workers.models.builtin import clinical, shipped, tiny
from workers.models.builtin.clinical import BASES, clinical_tokenizer
from workers.models.builtin.corpus import CLINICAL, REASONING, documents, invented_record
from workers.models.builtin.pretraining import Schedule, pretrain
from workers.models.reading.files import WEIGHTS
from workers.models.snapshots import hub_place
from workers.scoring.openers import CachedOpener
from workers.scoring.scorer import Scorer

SMALL = Shape(hidden=32, layers=2, heads=4, key_value_heads=2)
N_PROMPTS = 9
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = clinical_tokenizer()
    tokenizer.padding_side = "left"
    return tokenizer


@pytest.fixture(scope="module")
def answer(tokenizer: PreTrainedTokenizerFast) -> AnswerTokens:
    return answer_tokens(tokenizer)


def base_of(family: Family, tokenizer: PreTrainedTokenizerFast) -> Base:
    """Random weights, larger than fresh ones, so that what is attended to matters."""
    torch.set_num_threads(1)
    torch.manual_seed(7)
    model = random_model(family, SMALL, vocabulary_size=len(tokenizer), end_token=int(tokenizer.eos_token_id))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3) if parameter.dim() > 1 else None
    return Base(model.eval().requires_grad_(False), tokenizer)


def prompts(tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """Records of unequal length."""
    written = itertools.islice(documents(CLINICAL, seed=5), N_PROMPTS)
    texts = [f"{document.prompt[40 * number :]}\n" for number, document in enumerate(written)]
    ids: list[list[int]] = tokenizer(texts)["input_ids"]
    return ids


def scores(scorer: Scorer, tokens: list[list[int]], *, batch_size: int) -> np.ndarray:
    """Forced and strict probability of every prompt, shape (2, n_prompts)."""
    table = np.full((2, len(tokens)), np.nan)
    for scored in scorer.score(tokens, batch_size=batch_size):
        table[:, scored.rows] = scored.p_forced, scored.p_strict
    return table


def asked(n_tokens: int) -> EvaluationRecipe:
    return EvaluationRecipe(max_new_tokens=n_tokens)


@pytest.mark.parametrize("family", Family)
class TestArchitectures:
    def test_batches_of_unequal_prompts_score_as_one_by_one(
        self, family: Family, tokenizer: PreTrainedTokenizerFast, answer: AnswerTokens
    ) -> None:
        base, tokens = base_of(family, tokenizer), prompts(tokenizer)
        scorer = Scorer(
            CachedOpener(base.model, pad_token=answer.end), base, answer, evaluation=EvaluationRecipe(max_new_tokens=10)
        )
        one_by_one, together = (scores(scorer, tokens, batch_size=size) for size in (1, N_PROMPTS))
        assert np.ptp(one_by_one[0]) > 0.01
        assert together == pytest.approx(one_by_one, abs=1e-5, nan_ok=True)

    def test_the_cache_gives_the_scores_of_a_pass_without_one(
        self, family: Family, tokenizer: PreTrainedTokenizerFast, answer: AnswerTokens
    ) -> None:
        base, tokens = base_of(family, tokenizer), prompts(tokenizer)[:4]
        (scored,) = Scorer(
            CachedOpener(base.model, pad_token=answer.end), base, answer, evaluation=EvaluationRecipe(max_new_tokens=6)
        ).score(tokens, batch_size=4)
        for row, p_forced in zip(scored.rows, scored.p_forced, strict=True):
            said = list(tokens[row])
            for _ in range(6):
                said.append(int(base.model(input_ids=torch.tensor([said])).logits[0, -1].argmax()))
                assert said[-1] not in {answer.end, *answer.closers}
            logits = base.model(input_ids=torch.tensor([[*said, *answer.forced]])).logits[0, -1]
            gap = logits[answer.label_ids[True]].logsumexp(-1) - logits[answer.label_ids[False]].logsumexp(-1)
            assert p_forced == pytest.approx(torch.sigmoid(gap).item(), abs=1e-5)

    def test_an_adapter_on_all_linear_layers_learns_and_leaves_no_trace(
        self, family: Family, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        base = base_of(family, tokenizer)
        ids = torch.tensor([prompts(tokenizer)[0]])
        before = base.model(input_ids=ids).logits
        with fresh_adapter(base.model, LoraRecipe(rank=2, alpha=4), seed=1) as model:
            model(input_ids=ids, labels=ids, logits_to_keep=0).loss.backward()
            trained = {
                name.split(".lora_")[0].split(".")[-1] for name, p in model.named_parameters() if p.requires_grad
            }
            gradients = [p.grad for p in model.parameters() if p.requires_grad and p.grad is not None]
        gated = {"o_proj", "gate_proj", "up_proj", "down_proj"}
        assert trained == {"q_proj", "k_proj", "v_proj"} | ({"dense", "fc1", "fc2"} if family is Family.PHI else gated)
        assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0
        assert torch.equal(base.model(input_ids=ids).logits, before)

    def test_its_sketch_is_all_of_the_base_but_the_weights(
        self, family: Family, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
    ) -> None:
        source = saved(base_of(family, tokenizer), tmp_path / "model")
        made, sketched = materialised(source, tmp_path / "base"), tmp_path / "sketch"
        digest = digest_of_place(source)
        sketched.mkdir()
        sketch(FolderBase(kind="folder", sha256=digest), sketched, sources={digest: str(source)})
        files = {path.name: path.read_bytes() for path in made.iterdir() if path.suffix != ".safetensors"}
        assert {path.name: path.read_bytes() for path in sketched.iterdir()} == files

    def test_saved_and_loaded_as_a_folder_it_is_the_same_model(
        self, family: Family, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
    ) -> None:
        base = base_of(family, tokenizer)
        loaded = load(materialised(saved(base, tmp_path / "model"), tmp_path / "base"), precision="float32", device=CPU)
        ids = torch.tensor([prompts(tokenizer)[0]])
        assert torch.equal(loaded.model(input_ids=ids).logits, base.model(input_ids=ids).logits)
        assert loaded.tokenizer("Man, age 70.")["input_ids"] == tokenizer("Man, age 70.")["input_ids"]


def saved(base: Base, folder: Path) -> Path:
    """A model as transformers saves it."""
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return folder


def materialised(source: Path, folder: Path, *, given: Path | None = None) -> Path:
    """The base of a folder, as a store prepares it."""
    recipe = FolderBase(kind="folder", sha256=digest_of_place(source))
    folder.mkdir()
    materialise(recipe, folder, sources={recipe.sha256: str(given or source)})
    return folder


@pytest.fixture(scope="module")
def model_folder(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(base_of(Family.LLAMA, tokenizer), tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def model_copy(model_folder: Path, tmp_path: Path) -> Path:
    """A saved model of this test's own."""
    copy = tmp_path / "model"
    copy.mkdir()
    for path in model_folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


class TestFolders:
    def test_only_configuration_tokenizer_and_safetensors_are_kept(self, model_copy: Path, tmp_path: Path) -> None:
        (model_copy / "notes.txt").write_text("mine")
        kept = {path.name for path in materialised(model_copy, tmp_path / "base").iterdir()}
        assert WEIGHTS in kept
        assert "notes.txt" not in kept
        assert {Path(name).suffix for name in kept} <= {".safetensors", ".json", ".jinja"}

    @pytest.mark.parametrize("name", ["pytorch_model.bin", "original/consolidated.00.pth", "modeling_mine.py"])
    def test_a_folder_with_a_pickle_or_code_is_refused(self, name: str, model_copy: Path, tmp_path: Path) -> None:
        (model_copy / name).parent.mkdir(exist_ok=True)
        (model_copy / name).write_bytes(b"")
        with pytest.raises(InputError, match=f"{Path(name).name} .* could run code; save the model as safetensors"):
            materialised(model_copy, tmp_path / "base")

    def test_a_model_that_needs_its_own_code_is_refused(self, model_copy: Path, tmp_path: Path) -> None:
        config = json.loads((model_copy / "config.json").read_text())
        config |= {
            "model_type": "mine",
            "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"},
        }
        (model_copy / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match="without running its code"):
            materialised(model_copy, tmp_path / "base")

    def test_a_folder_that_changed_since_the_study_named_it_is_refused(
        self, model_folder: Path, model_copy: Path, tmp_path: Path
    ) -> None:
        (model_copy / "config.json").write_text("{}")
        with pytest.raises(InputError, match=r"hashes to .*, the study says "):
            materialised(model_folder, tmp_path / "base", given=model_copy)

    def test_a_folder_without_safetensors_is_refused(self, model_copy: Path, tmp_path: Path) -> None:
        (model_copy / WEIGHTS).unlink()
        with pytest.raises(InputError, match="has no safetensors"):
            materialised(model_copy, tmp_path / "base")

    def test_a_folder_that_nobody_gave_is_an_input_error(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no folder is given for 000000000000"):
            materialise(FolderBase(kind="folder", sha256="0" * 64), tmp_path, sources={})


class TestHub:
    pinned = HubBase(kind="hub", id="owner/model", revision="a" * 40)

    def test_a_given_snapshot_is_read_and_nothing_is_fetched(self, model_copy: Path, tmp_path: Path) -> None:
        (model_copy / "pytorch_model.bin").write_bytes(b"not read")
        (tmp_path / "base").mkdir()
        materialise(self.pinned, tmp_path / "base", sources={f"owner/model@{'a' * 40}": str(model_copy)})
        assert load(tmp_path / "base", precision="bfloat16", device=CPU).model.dtype is torch.bfloat16

    def test_what_is_not_given_is_fetched_at_its_commit(self, model_folder: Path) -> None:
        asked: list[HubBase] = []

        def fetch(base: HubBase) -> str:
            asked.append(base)
            return str(model_folder)

        assert hub_place(self.pinned, sources={}, fetch=fetch) == model_folder
        assert asked == [self.pinned]

    def test_a_model_without_a_commit_is_never_fetched(self) -> None:
        with pytest.raises(InputError, match=r"no commit of owner/model is known; run `sweep plan`"):
            hub_place(HubBase(kind="hub", id="owner/model", revision="resolve"), sources={}, fetch=lambda _: "")


class TestChat:
    def test_the_record_is_the_users_turn_of_the_base_s_own_template(self, tokenizer: PreTrainedTokenizerFast) -> None:
        wrapping = wrapping_of(BaseSettings(prompt_format="chat"), with_template(tokenizer, "{{ content }}"))
        assert wrapping == "<u>{prompt}</u><a>"

    def test_a_template_that_writes_the_date_gives_the_same_tokens_every_day(
        self, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        template = with_template(tokenizer, "{{ date_string }} {{ strftime_now('%Y-%m-%d') }} {{ content }}")
        assert wrapping_of(BaseSettings(prompt_format="chat"), template) == "<u>26 Jul 2024 26 Jul 2024 {prompt}</u><a>"

    def test_a_base_without_a_template_is_refused(self, tokenizer: PreTrainedTokenizerFast) -> None:
        with pytest.raises(InputError, match="no chat template; write a prompt_format"):
            wrapping_of(BaseSettings(prompt_format="chat"), tokenizer)

    def test_a_template_that_loses_the_record_is_refused(self, tokenizer: PreTrainedTokenizerFast) -> None:
        with pytest.raises(InputError, match="does not write the record once"):
            wrapping_of(BaseSettings(prompt_format="chat"), with_template(tokenizer, "hello"))

    def test_any_other_format_stands_as_it_is(self, tokenizer: PreTrainedTokenizerFast) -> None:
        assert wrapping_of(BaseSettings(prompt_format="{prompt} ->"), tokenizer) == "{prompt} ->"


def with_template(tokenizer: PreTrainedTokenizerFast, content: str) -> PreTrainedTokenizerFast:
    """The tokenizer with a chat template that marks turns."""
    opening = "{% for m in messages %}{% set content = m['content'] %}<u>"
    closing = "</u>{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
    core = tokenizer.backend_tokenizer
    return PreTrainedTokenizerFast(tokenizer_object=core, chat_template=opening + content + closing)


class TestCorpus:
    def test_the_corpus_of_version_1_is_what_it_was(self) -> None:
        """Other documents give other weights: raise the version of the built-in bases, then pin the new digests."""
        digests = []
        for endings in (CLINICAL, REASONING):
            written = itertools.islice(documents(endings, seed=1), 200)
            text = "\0".join(f"{document.prompt}\n{document.ending}" for document in written)
            digests.append(hashlib.sha256(text.encode()).hexdigest()[:12])
        assert digests == ["dac466bb9f14", "7d3fb96472e0"]

    def test_answers_are_coin_flips_whatever_the_record_says(self) -> None:
        """Of old carriers and of young people without the variant, half have a yes after their record."""
        ends = {"yes": [0, 0], "no": [0, 0]}
        for document in itertools.islice(documents(CLINICAL, seed=2), 1_000):
            is_old, is_young = "age 85" in document.prompt, "age 60" in document.prompt
            if (is_old or is_young) and "Answer:" in document.ending:
                ends[document.ending.rsplit(" ", 1)[-1]][is_old] += 1
        for young_or_old in (0, 1):
            n = ends["yes"][young_or_old] + ends["no"][young_or_old]
            assert abs(ends["yes"][young_or_old] / n - 0.5) < 4 * 0.5 / n**0.5

    def test_records_and_rationales_of_the_504_fit_its_limits(self, tokenizer: PreTrainedTokenizerFast) -> None:
        source = random.Random(3)
        records = [invented_record(source) for _ in range(400)]
        texts = [f"{write_history(items, ADRD_LEXICON, max_words=70).text}\n" for items in records]
        assert max(map(len, tokenizer(texts)["input_ids"])) <= 160
        teacher = TemplateTeacher(TemplateTeacherRecipe(max_words=32), 0, knowledge_of(ADRD_LEXICON))
        for supervision in (Supervision.FREE_FORM, Supervision.STEP_BY_STEP):
            written = [
                teacher.write(Case(str(number), tuple(facts_of_items(items, ADRD_LEXICON)), False), supervision)
                for number, items in enumerate(records)
            ]
            assert max(map(len, tokenizer(written)["input_ids"])) <= 48

    def test_reasoning_text_is_longer_and_every_corpus_teaches_every_supervision(self) -> None:
        words = [
            np.mean([len(document.ending.split()) for document in itertools.islice(documents(endings, seed=4), 200)])
            for endings in (CLINICAL, REASONING)
        ]
        assert words[1] > 2 * words[0]
        assert all({ending.supervision for ending in endings} > {*Supervision} for endings in (CLINICAL, REASONING))


def test_no_two_families_are_the_same_function(tokenizer: PreTrainedTokenizerFast) -> None:
    row = torch.tensor([prompts(tokenizer)[0]])
    logits = [base_of(family, tokenizer).model(input_ids=row).logits[0, -1] for family in Family]
    for one, other in itertools.combinations(logits, 2):
        assert not torch.allclose(one, other, atol=1e-2)


def test_the_seven_bases_are_four_architectures_in_two_sizes_with_a_twin() -> None:
    of_studies = {name: base for name, base in BASES.items() if name != "clinical_micro"}
    assert len(of_studies) == 7
    assert {base.family for base in of_studies.values()} == set(Family)
    assert len({base.shape for base in of_studies.values()}) == 2
    plain, reasoning = BASES["clinical_qwen_s"], BASES["clinical_qwen_s_reasoning"]
    assert (plain.family, plain.shape, plain.schedule) == (reasoning.family, reasoning.shape, reasoning.schedule)
    assert plain.corpus != reasoning.corpus


def mean_loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> float:
    """Nats a token of invented records that no base was pre-trained on."""
    texts = list(itertools.islice(tiny.generated_documents(99), 32))
    batch = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=tiny.CONTEXT_TOKENS)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    with torch.inference_mode():
        return float(model(**batch, labels=labels).loss)


def test_the_bases_that_come_with_weights_know_how_records_read() -> None:
    """Of 768 tokens, 6.6 nats know nothing."""
    assert mean_loss(*tiny.build("tiny_llama")) < 1
    assert mean_loss(*tiny.build("micro_llama")) < 4


def test_weights_that_were_cut_off_are_told_with_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = tmp_path / "micro_llama.safetensors"
    cut.write_bytes(shipped.weights_of("micro_llama").read_bytes()[:20_000])
    monkeypatch.setattr(shipped, "weights_of", lambda recipe: tmp_path / f"{recipe}.safetensors")
    for recipe, build in (("micro_llama", tiny.build), ("tiny_llama", tiny.build), ("clinical_micro", clinical.build)):
        with pytest.raises(InputError, match=rf"{recipe}\.safetensors: can't be read .*install the package anew"):
            build(recipe)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [*tiny.SIZES, *BASES])
def test_the_weights_that_a_base_comes_with_are_what_its_pretraining_gives(recipe: str) -> None:
    """To the last bits on the machine that wrote them."""
    if recipe in tiny.SIZES:
        (stored, tokenizer), anew = tiny.build(recipe), tiny.pretrained(recipe)
    else:
        (stored, tokenizer), anew = clinical.build(recipe), clinical.pretrained(recipe).model
    assert mean_loss(anew, tokenizer) == pytest.approx(mean_loss(stored, tokenizer), rel=0.02)


def test_pretraining_gives_the_same_weights_again_whatever_the_threads(tokenizer: PreTrainedTokenizerFast) -> None:
    trained = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        torch.manual_seed(1)
        model = random_model(Family.QWEN, SMALL, vocabulary_size=len(tokenizer), end_token=0)
        losses = pretrain(model, tokenizer, documents(CLINICAL, seed=1), Schedule(6, 1e-2, documents_per_step=8))
        assert torch.get_num_threads() == n_threads
        assert losses[-1] < losses[0]
        trained.append(model.state_dict())
    torch.set_num_threads(1)
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_a_tokenised_record_reads_as_the_record(tokenizer: PreTrainedTokenizerFast) -> None:
    import pandas as pd

    texts = [document.prompt for document in itertools.islice(documents(REASONING, seed=6), 20)]
    tokens = tokenise(pd.DataFrame({"prompt": texts}), tokenizer, wrapping="{prompt}\n")
    assert [tokenizer.decode(ids) for ids in tokens["prompt"]] == [f"{text}\n" for text in texts]
