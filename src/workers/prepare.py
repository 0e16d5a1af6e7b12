"""Inputs once a store: cohort, base, prompts, rationales and their tokens, each published by exclusive link.

What is published is never changed. Everything here is participant data or large; folders are private to the user.
"""

import secrets
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import pandas as pd

from workers.cohort.framingham import load_framingham
from workers.cohort.meds import SPLITS
from workers.cohort.splits import largest_balanced_size
from workers.commit import file_digests, link_exclusive, sync_tree
from workers.contract.errors import InputError, Problem, StoreError
from workers.contract.inputs import InputKind, InputRecipe, Manifest, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.sources import sha256_of
from workers.contract.trial import Supervision, TrialSpec, WorkOrder
from workers.examples.prompt import render_prompt
from workers.examples.teacher import TemplateTeacher, cases_of, fit_threshold

LABELS, VALUES, TEXTS, TOKENS = "labels.parquet", "values.parquet", "texts.parquet", "tokens.parquet"
RATIONALE_SUPERVISIONS = (Supervision.FREE_FORM, Supervision.STEP_BY_STEP)
Counts = dict[str, int | float | str]


def prepare(orders: Iterable[WorkOrder]) -> None:
    """Make every input that the orders need and that the store lacks, then check that every trial fits.

    Raises:
        InputError: A source file is missing or wrong, or a trial can't be run with these inputs (all such at once).
    """
    problems: dict[str, Problem] = {}
    for order in orders:
        layout = StoreLayout(Path(order.store))
        workshop = Workshop(layout, order.trial.spec, order.sources)
        for recipe in input_recipes(order.trial.spec).values():
            workshop.make(recipe)
        problems |= {str(problem): problem for problem in misfits(order.trial.spec, layout)}
    if problems:
        raise InputError(*problems.values())


def folder_of(recipe: InputRecipe, layout: StoreLayout) -> Path:
    """Where a prepared input lies.

    Raises:
        StoreError: It is not prepared.
    """
    manifest = Manifest.load(layout.manifest(recipe.digest()))
    if manifest is None:
        raise StoreError(f"{layout.root}: {recipe.kind} is not prepared; run `python -m workers prepare`")
    return layout.input(recipe.digest()) / manifest.folder


def verified_folder(recipe: InputRecipe, layout: StoreLayout) -> Path:
    """Where a prepared input lies, after every file in it proved to be the one that was published.

    Raises:
        StoreError: It is not prepared, or a file has changed since.
    """
    folder = folder_of(recipe, layout)
    manifest = Manifest.load(layout.manifest(recipe.digest()))
    if manifest is None or file_digests(folder) != manifest.files:
        where = layout.input(recipe.digest())
        raise StoreError(f"{where}: the prepared {recipe.kind} is damaged; delete this folder and run again")
    return folder


@dataclass(frozen=True)
class Workshop:
    """Makes the inputs of one trial."""

    layout: StoreLayout
    spec: TrialSpec
    sources: dict[str, str]

    def make(self, recipe: InputRecipe) -> None:
        """Build and publish one input unless the store has it.

        Raises:
            StoreError: Another node published the same recipe with other content.
        """
        if Manifest.load(self.layout.manifest(recipe.digest())) is not None:
            return
        builders: dict[InputKind, Callable[[Path], Counts]] = {
            InputKind.COHORT: self._build_cohort,
            InputKind.BASE: self._build_base,
            InputKind.PROMPTS: self._build_prompts,
            InputKind.RATIONALES: self._build_rationales,
            InputKind.PROMPT_TOKENS: self._build_prompt_tokens,
            InputKind.RATIONALE_TOKENS: self._build_rationale_tokens,
        }
        folder = self.layout.input(recipe.digest()) / secrets.token_hex(4)
        folder.mkdir(parents=True, mode=0o700)
        try:
            counts = builders[recipe.kind](folder)
            sync_tree(folder)
            manifest = Manifest(recipe=recipe, folder=folder.name, files=file_digests(folder), counts=counts)
            won = link_exclusive(self.layout.manifest(recipe.digest()), manifest.model_dump_json(indent=1).encode())
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if not won:
            shutil.rmtree(folder)
            self._check_same(recipe, manifest)

    def _check_same(self, recipe: InputRecipe, mine: Manifest) -> None:
        published = Manifest.load(self.layout.manifest(recipe.digest()))
        if published is not None and published.files != mine.files:
            raise StoreError(f"{recipe.kind} {recipe.digest()}: two nodes made different files; compare their packages")

    def _folder(self, kind: InputKind) -> Path:
        return folder_of(input_recipes(self.spec)[kind], self.layout)

    def _build_cohort(self, folder: Path) -> Counts:
        path = self._verified_source()
        cohort = load_framingham(path, self.spec.cohort)
        cohort.labels.to_parquet(folder / LABELS)
        cohort.values_at_index().to_parquet(folder / VALUES)
        counts: Counts = {
            "n_candidates": cohort.flow.n_candidates,
            "n_examples": cohort.flow.n_eligible,
            "n_participants": cohort.flow.n_participants,
            "n_events": cohort.flow.n_events,
            "largest_balanced_size": largest_balanced_size(cohort.labels),
        }
        counts |= {f"excluded: {reason}": number for reason, number in cohort.flow.excluded.items()}
        for split in SPLITS:
            members = cohort.labels[cohort.labels["split"] == split]
            counts[f"{split}_n_examples"] = len(members)
            counts[f"{split}_n_participants"] = int(members["subject_id"].nunique())
            counts[f"{split}_n_events"] = int(members["boolean_value"].sum())
        return counts

    def _verified_source(self) -> Path:
        expected = self.spec.cohort.sha256
        if expected not in self.sources:
            raise InputError(Problem("cohort.file", f"no path is given for {expected[:12]}…", "run `make data`"))
        path = Path(self.sources[expected])
        if not path.is_file():
            raise InputError(Problem("cohort.file", f"{path} is missing on this node", "run `make data`"))
        found = sha256_of(path)
        if found != expected:
            raise InputError(
                Problem("cohort.file", f"{path} has SHA-256 {found[:12]}…, not {expected[:12]}…", "run `make data`")
            )
        return path

    def _build_base(self, folder: Path) -> Counts:
        from workers.examples.tokens import answer_tokens
        from workers.models.base import context_tokens, load_tokenizer, materialise

        if self.spec.base is None:
            raise ValueError("a trial without a base needs none")
        materialise(self.spec.base, folder)
        answer = answer_tokens(load_tokenizer(folder))
        longest = max(len(answer.target([0], has_event=label)) - 1 for label in (True, False))
        return {"context_tokens": context_tokens(folder), "longest_answer_tokens": longest}

    def _build_prompts(self, folder: Path) -> Counts:
        cohort = self._folder(InputKind.COHORT)
        cases = cases_of(pd.read_parquet(cohort / VALUES), pd.read_parquet(cohort / LABELS))
        pd.DataFrame({"prompt": [render_prompt(case.values) for case in cases]}).to_parquet(folder / TEXTS)
        return {"n_prompts": len(cases)}

    def _build_rationales(self, folder: Path) -> Counts:
        if self.spec.teacher is None:
            raise ValueError("a trial without a teacher needs no rationales")
        cohort = self._folder(InputKind.COHORT)
        labels = pd.read_parquet(cohort / LABELS)
        cases = cases_of(pd.read_parquet(cohort / VALUES), labels)
        is_train = (labels["split"] == "train").tolist()
        teacher = TemplateTeacher(self.spec.teacher, fit_threshold(list(compress(cases, is_train))))
        # Nobody who is scored gets a rationale: a conditioned teacher's would give the label away.
        texts = pd.DataFrame(
            {
                str(kind): [teacher.write(case, kind) if use else "" for case, use in zip(cases, is_train, strict=True)]
                for kind in RATIONALE_SUPERVISIONS
            }
        )
        texts.to_parquet(folder / TEXTS)
        counts: Counts = {"threshold_points": teacher.threshold}
        return counts | {f"n_distinct {name}": int(texts[name].nunique()) for name in texts}

    def _build_prompt_tokens(self, folder: Path) -> Counts:
        wrapping = self.spec.base.prompt_format if self.spec.base else ""
        return self._build_tokens(folder, InputKind.PROMPTS, wrapping=wrapping)

    def _build_rationale_tokens(self, folder: Path) -> Counts:
        return self._build_tokens(folder, InputKind.RATIONALES)

    def _build_tokens(self, folder: Path, texts: InputKind, *, wrapping: str = "{prompt}") -> Counts:
        from workers.examples.tokens import tokenise
        from workers.models.base import load_tokenizer

        tokenizer = load_tokenizer(self._folder(InputKind.BASE))
        tokens = tokenise(pd.read_parquet(self._folder(texts) / TEXTS), tokenizer, wrapping=wrapping)
        tokens.to_parquet(folder / TOKENS)
        return {f"longest {name}": int(tokens[name].map(len).max()) for name in tokens}


def misfits(spec: TrialSpec, layout: StoreLayout) -> list[Problem]:
    """Why a trial can't run with the prepared inputs; empty where it can."""
    counts = {
        kind: manifest.counts
        for kind, recipe in input_recipes(spec).items()
        if (manifest := Manifest.load(layout.manifest(recipe.digest()))) is not None
    }
    problems = []
    largest = int(counts[InputKind.COHORT]["largest_balanced_size"])
    if spec.train_size is not None and spec.train_size > largest:
        problems.append(
            Problem(
                "axes.train_size",
                f"{spec.train_size} is larger than the cohort allows: {largest} label-balanced training examples",
                f"use at most {largest}",
            )
        )
    if InputKind.BASE in counts:
        problems += _token_misfits(spec, counts)
    return problems


def _token_misfits(spec: TrialSpec, counts: dict[InputKind, Counts]) -> list[Problem]:
    problems = []
    allowed = spec.evaluation.max_new_tokens
    target = int(counts[InputKind.BASE]["longest_answer_tokens"])
    if spec.supervision is not None and InputKind.RATIONALE_TOKENS in counts:
        target += int(counts[InputKind.RATIONALE_TOKENS][f"longest {spec.supervision}"])
    if target > allowed:
        problems.append(
            Problem(
                "evaluation.max_new_tokens",
                f"{allowed} is shorter than the longest {spec.supervision or spec.method} target, {target} tokens",
                f"use at least {target}, or lower teacher.max_words",
            )
        )
    context = int(counts[InputKind.BASE]["context_tokens"])
    forced_line = int(counts[InputKind.BASE]["longest_answer_tokens"])  # appended where no answer came in time
    needed = int(counts[InputKind.PROMPT_TOKENS]["longest prompt"]) + max(target, allowed + forced_line)
    if needed > context:
        problems.append(
            Problem(
                "bases",
                f"the longest prompt with its answer takes {needed} tokens, the base holds {context}",
                "choose a base with a longer context or lower evaluation.max_new_tokens",
            )
        )
    return problems
