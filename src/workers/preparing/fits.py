"""Whether a trial can run with the inputs that were prepared for it: enough participants, enough context."""

from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from workers.contract.answers.sketches import SketchedBase
from workers.contract.errors import InputError, Problem
from workers.contract.inputs import Counts, InputKind, Manifest, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.recipes.bases import BaseSettings, BuiltinBase, FolderBase, GgufBase, HubBase
from workers.contract.trial import Method, TrialSpec, WorkOrder
from workers.preparing.sketches import Sketches

# Bounds: a token holds at least one character of the prefix `[rationale] ` of a task.
LONGEST_PREFIX = 12


def misfits(order: WorkOrder, sketches: Sketches) -> list[Problem]:
    """Why a trial can't run with the prepared inputs; empty where it can, or what would tell is not prepared yet."""
    spec, layout = order.trial.spec, StoreLayout(Path(order.store))
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
    if InputKind.PROMPT_TOKENS in counts:
        try:
            base = sketches.of(order, layout)
            longest = _longest_prompt(spec, layout, counts, base=base)
            problems += _token_misfits(order, counts, longest_prompt=longest, context=_context(counts, base))
        except InputError as error:
            problems += error.problems
    return problems


@dataclass(frozen=True)
class Outlook:
    """What a base says before anything is prepared, and why a trial can't be run on it whatever its prompts."""

    base: SketchedBase
    problems: tuple[Problem, ...]


def outlook(order: WorkOrder, sketches: Sketches) -> Outlook:
    """Read a trial's base as far as configuration and tokenizer go.

    Raises:
        InputError: They can't be read, or can't be used as the study says.
    """
    from workers.examples.tokenizing.tokens import answer_tokens
    from workers.examples.tokenizing.wrapping import wrapping_of
    from workers.models.base import context_tokens, load_tokenizer

    folder, settings = sketches.of(order, StoreLayout(Path(order.store))), order.trial.spec.base or BaseSettings()
    tokenizer = load_tokenizer(folder)
    answer = answer_tokens(tokenizer, settings, folder=folder)
    wrapping_of(settings, tokenizer)  # refuses a template that can't be used
    base = SketchedBase(context_tokens=context_tokens(folder), longest_answer_tokens=answer.longest)
    counts: dict[InputKind, Counts] = {InputKind.PROMPT_TOKENS: {"longest_answer_tokens": answer.longest}}
    return Outlook(base, tuple(_token_misfits(order, counts, longest_prompt=0, context=base.context_tokens)))


def _context(counts: dict[InputKind, Counts], base: Path) -> int:
    if InputKind.BASE in counts:
        return int(counts[InputKind.BASE]["context_tokens"])
    from workers.models.base import context_tokens

    return context_tokens(base)


def _longest_prompt(spec: TrialSpec, layout: StoreLayout, counts: dict[InputKind, Counts], *, base: Path) -> int:
    """Tokens before the answer, demonstrations or a task's prefix included; at least so many without rationales.

    Raises:
        InputError: The demonstrations can't be shown.
    """
    has_all = spec.teacher is None or InputKind.RATIONALE_TOKENS in counts
    if spec.method is Method.FEW_SHOT and has_all:
        from workers.scoring.few_shot import few_shot_tokens

        return few_shot_tokens(spec, layout, base=base)
    is_multi_task = spec.training is not None and spec.training.objective.kind == "multi_task"
    return int(counts[InputKind.PROMPT_TOKENS]["longest prompt"]) + (LONGEST_PREFIX if is_multi_task else 0)


def _token_misfits(
    order: WorkOrder, counts: dict[InputKind, Counts], *, longest_prompt: int, context: int
) -> list[Problem]:
    spec, problems = order.trial.spec, []
    allowed = spec.evaluation.max_new_tokens
    # Prompts that were prepared earlier do not count it: then the base's settings were the usual ones.
    answers = {**counts.get(InputKind.BASE, {}), **counts[InputKind.PROMPT_TOKENS]}
    forced_line = target = int(answers["longest_answer_tokens"])
    if spec.supervision is not None and InputKind.RATIONALE_TOKENS in counts:
        target += int(counts[InputKind.RATIONALE_TOKENS][f"longest {spec.supervision}"])
        target += spec.target.ordering == "label_first"  # a line break more, after the answer
    if target > allowed:
        problems.append(
            Problem(
                "evaluation.max_new_tokens",
                f"{allowed} is shorter than the longest {spec.supervision or spec.method} target, {target} tokens"
                f"{_on_its_base(order)}",
                f"use at least {target}, or lower teacher.max_words",
            )
        )
    written = max(allowed, spec.evaluation.reasoned_tokens)
    needed = longest_prompt + max(target, written + forced_line)  # appended where no answer came in time
    if needed > context:
        problems.append(
            Problem(
                "bases",
                f"the longest prompt takes {longest_prompt} tokens and its answer up to {needed - longest_prompt}, "
                f"together {needed} tokens, the base holds {context}{_stated_in(order)}"
                if longest_prompt
                else f"an answer alone takes up to {needed} tokens, the base holds {context}{_stated_in(order)}",
                f"choose a base with a longer context, or lower evaluation.max_new_tokens{_or_fewer_words(spec)}",
            )
        )
    return problems


def _on_its_base(order: WorkOrder) -> str:
    name = order.trial.coordinates.get("base")
    return f" on base {name}" if name is not None else ""


def _stated_in(order: WorkOrder) -> str:
    """The file that says how much a base holds; nothing of a built-in one, which no file can change."""
    match base := order.trial.spec.base:
        case FolderBase(sha256=digest):
            return f" by {Path(order.sources.get(digest, '')) / 'config.json'}"
        case GgufBase(file=name):
            return f" by {name}"
        case HubBase(id=name):
            return f" by the config.json of {name}"
        case BuiltinBase() | None:
            return ""
    assert_never(base)


def _or_fewer_words(spec: TrialSpec) -> str:
    is_shortened = spec.prompt is not None and spec.prompt.template == "history"
    return " or prompt.max_words" if is_shortened else ""
