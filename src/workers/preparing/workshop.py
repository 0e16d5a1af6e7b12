"""How each input of a trial is made: a builder a kind, each writing into an empty folder."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from workers.cohort.cohort import counts_of
from workers.cohort.sources import load_cohort
from workers.contract.errors import InputError, Problem
from workers.contract.inputs import (
    BaseFigures,
    Counts,
    InputKind,
    PromptTokenFigures,
    ProofFigures,
    RationaleTokenFigures,
    input_recipes,
    precision_of,
    wanted_rationales,
)
from workers.contract.layout import StoreLayout
from workers.contract.recipes.bases import BaseRecipe
from workers.contract.recipes.teaching import BaseTeacherRecipe, Supervision
from workers.contract.system.sources import digest_of_place
from workers.contract.trial import Precision, TrialSpec, WorkOrder
from workers.preparing.sketches import Sketches
from workers.store.published import CENSORING, LABELS, LEXICON, PROOF, RECORDS, TEXTS, TOKENS, VALUES, folder_of


@dataclass(frozen=True)
class Workshop:
    """Makes the inputs of one trial."""

    layout: StoreLayout
    order: WorkOrder
    sketches: Sketches

    @property
    def spec(self) -> TrialSpec:
        """What the inputs are for."""
        return self.order.trial.spec

    def builder(self, kind: InputKind) -> Callable[[Path], Counts]:
        """The function that writes an input of this kind into a folder and returns its figures."""
        builders: dict[InputKind, Callable[[Path], Counts]] = {
            InputKind.COHORT: self._build_cohort,
            InputKind.BASE: partial(self._build_base, self.spec.base),
            InputKind.PROMPTS: self._build_prompts,
            InputKind.RATIONALES: self._build_rationales,
            InputKind.PROMPT_TOKENS: self._build_prompt_tokens,
            InputKind.RATIONALE_TOKENS: self._build_rationale_tokens,
            InputKind.PROOF: partial(self._build_proof, self.spec.base, InputKind.BASE, precision_of(self.spec)),
        }
        teacher = self.spec.teacher
        if teacher is not None and teacher.kind == "base":
            proof = partial(self._build_proof, teacher.base, InputKind.TEACHER_BASE, teacher.precision)
            builders[InputKind.TEACHER_BASE] = partial(self._build_base, teacher.base)
            builders[InputKind.TEACHER_PROOF] = proof
            builders[InputKind.RATIONALES] = partial(self._build_own_rationales, teacher)
        return builders[kind]

    def _folder(self, kind: InputKind) -> Path:
        return folder_of(input_recipes(self.spec)[kind], self.layout)

    def _build_cohort(self, folder: Path) -> Counts:
        cohort = load_cohort(self.spec.cohort, self._verified_source())
        cohort.labels.to_parquet(folder / LABELS)
        if cohort.censoring is not None:
            pd.DataFrame({"weight": cohort.censoring}).to_parquet(folder / CENSORING)
        if cohort.lexicon is None:
            cohort.values_at_index().to_parquet(folder / VALUES)
        else:
            cohort.records().to_parquet(folder / RECORDS)
            (folder / LEXICON).write_text(cohort.lexicon.model_dump_json(indent=1))
        return {**counts_of(cohort)}

    def _verified_source(self) -> Path | None:
        expected = self.spec.cohort.source_digest
        if expected is None:
            return None
        fetch = self.spec.cohort.kind.fetched_by
        remedy = f"run `{fetch}`" if fetch else "give the data that the study names"
        if expected not in self.order.sources:
            raise InputError(Problem("cohort", f"no path is given for {expected[:12]}…", remedy))
        path = Path(self.order.sources[expected])
        if not path.exists():
            raise InputError(Problem("cohort", f"{path} is missing on this node", remedy))
        found = digest_of_place(path)
        if found != expected:
            raise InputError(Problem("cohort", f"{path} hashes to {found}, the study says {expected}", remedy))
        return path

    def _build_base(self, base: BaseRecipe | None, folder: Path) -> Counts:
        from workers.examples.tokenizing.tokens import answer_tokens
        from workers.models.base import context_tokens, load_tokenizer, materialise

        if base is None:
            raise ValueError("a trial without a base needs none")
        materialise(base, folder, sources=self.order.sources)
        answer = answer_tokens(load_tokenizer(folder), base, folder=folder)
        return BaseFigures(context_tokens=context_tokens(folder), longest_answer_tokens=answer.longest).counts()

    def _build_proof(self, base: BaseRecipe | None, made: InputKind, precision: Precision, folder: Path) -> Counts:
        from workers.preparing.proof import prove

        if base is None:
            raise ValueError("a trial without a base has none to prove")
        proof = prove(self._folder(made), base, precision=precision)
        (folder / PROOF).write_text(proof.model_dump_json(indent=1))
        seen = proof.tried[proof.together]
        return ProofFigures(together=proof.together, largest=seen.largest, flipped=seen.n_flipped).counts()

    def _build_prompts(self, folder: Path) -> Counts:
        from workers.examples.prompts import render_prompts

        if self.spec.prompt is None:
            raise ValueError("a trial without prompts needs none")
        texts, counts = render_prompts(self._folder(InputKind.COHORT), self.spec.prompt)
        texts.to_parquet(folder / TEXTS)
        return counts

    def _build_rationales(self, folder: Path) -> Counts:
        from workers.examples.rationales import write_rationales

        if self.spec.teacher is None or self.spec.teacher.kind == "base":
            raise ValueError("a trial without a teacher needs no rationales, and a base writes its own")
        texts, counts = write_rationales(
            self._folder(InputKind.COHORT),
            self.spec.teacher,
            prompts=self._folder(InputKind.PROMPTS),
            endpoint=self.order.endpoint,
            cache=self.layout.teacher_cache,
            wanted=wanted_rationales(self.spec),
            max_words=self.spec.prompt.max_words if self.spec.prompt else None,
        )
        texts.to_parquet(folder / TEXTS)
        return counts

    def _build_own_rationales(self, teacher: BaseTeacherRecipe, folder: Path) -> Counts:
        from workers.preparing.teacher import write_by_base

        texts, counts = write_by_base(
            self._folder(InputKind.COHORT),
            teacher,
            wanted=wanted_rationales(self.spec),
            prompts=self._folder(InputKind.PROMPTS),
            base=self._folder(InputKind.TEACHER_BASE),
            proof=self._folder(InputKind.TEACHER_PROOF),
            cache=self.layout.teacher_cache,
        )
        texts.to_parquet(folder / TEXTS)
        return counts

    def _build_prompt_tokens(self, folder: Path) -> Counts:
        from workers.examples.tokenizing.tokens import answer_tokens, tokenise
        from workers.examples.tokenizing.wrapping import wrapping_of
        from workers.models.base import load_tokenizer

        if self.spec.base is None:
            raise ValueError("a trial without a base reads no prompts")
        base = self.sketches.of(self.order, self.layout)
        tokenizer = load_tokenizer(base)
        answer = answer_tokens(tokenizer, self.spec.base, folder=base)
        tokens = tokenise(
            pd.read_parquet(self._folder(InputKind.PROMPTS) / TEXTS),
            tokenizer,
            wrapping=wrapping_of(self.spec.base, tokenizer),
            special_tokens=self.spec.base.special_tokens,
            beginning=answer.bos,
        )
        tokens.to_parquet(folder / TOKENS)
        longest = int(tokens["prompt"].map(len).max()) + len(answer.bos)
        # The base's own count is that of the first settings it was prepared with; these change the line.
        return PromptTokenFigures(longest_prompt=longest, longest_answer_tokens=answer.longest).counts()

    def _build_rationale_tokens(self, folder: Path) -> Counts:
        from workers.examples.tokenizing.tokens import tokenise
        from workers.models.base import load_tokenizer

        if self.spec.base is None:
            raise ValueError("a trial without a base reads no rationales")
        tokens = tokenise(
            pd.read_parquet(self._folder(InputKind.RATIONALES) / TEXTS),
            load_tokenizer(self.sketches.of(self.order, self.layout)),
            wrapping=None,
            special_tokens=self.spec.base.special_tokens,
        )
        tokens.to_parquet(folder / TOKENS)
        longest = {Supervision(str(name)): int(tokens[name].map(len).max()) for name in tokens}
        return RationaleTokenFigures(longest=longest).counts()
