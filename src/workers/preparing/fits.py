"""Whether a trial can run with the inputs that were prepared for it: enough participants, enough context."""

from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from workers.cohort.checks import too_large
from workers.contract.answers.sketches import SketchedBase
from workers.contract.errors import InputError, Problem
from workers.contract.inputs import (
    BaseFigures,
    CohortFigures,
    InputKind,
    Manifest,
    PromptTokenFigures,
    RationaleTokenFigures,
    input_recipes,
    wanted_rationales,
)
from workers.contract.layout import StoreLayout
from workers.contract.recipes.bases import BaseSettings, BuiltinBase, FolderBase, GgufBase, HubBase
from workers.contract.trial import Method, TrialSpec, WorkOrder
from workers.preparing.sketches import Sketches
from workers.store.published import folder_of

# Bounds: a token holds at least one character of the prefix `[rationale] ` of a task.
LONGEST_PREFIX = 12


def misfits(order: WorkOrder, sketches: Sketches) -> list[Problem]:
    """Why a trial can't run with the prepared inputs; empty where it can, or what would tell is not prepared yet."""
    spec, layout = order.trial.spec, StoreLayout(Path(order.store))
    cohort, problems = CohortFigures.of(spec, layout), []
    if cohort is not None and (spec.train_size or 0) > cohort.largest_balanced_size:
        problems.append(too_large("axes.train_size", spec.train_size or 0, largest=cohort.largest_balanced_size))
    try:
        lengths = lengths_of(order, sketches)
    except InputError as error:
        return [*problems, *error.problems]
    return problems if lengths is None else [*problems, *_token_misfits(order, lengths)]


def teacher_misfits(order: WorkOrder, sketches: Sketches) -> list[Problem]:
    """Why a base can't write the rationales that are still asked of it; told by its tokenizer, before it is made."""
    spec, layout = order.trial.spec, StoreLayout(Path(order.store))
    teacher, recipes = spec.teacher, input_recipes(spec)
    if teacher is None or teacher.kind != "base":
        return []
    digest = recipes[InputKind.RATIONALES].digest()
    if digest not in sketches.crowded and Manifest.load(layout.manifest(digest)) is None:
        from workers.preparing.teacher import check_room

        cohort, prompts = (folder_of(recipes[kind], layout) for kind in (InputKind.COHORT, InputKind.PROMPTS))
        try:
            folder = sketches.of(order, layout, InputKind.TEACHER_BASE)
            check_room(cohort, teacher, wanted=wanted_rationales(spec), prompts=prompts, base=folder)
        except InputError as error:
            sketches.crowded[digest] = [*error.problems]
    return sketches.crowded.setdefault(digest, [])


def lengths_of(order: WorkOrder, sketches: Sketches) -> "Lengths | None":
    """What a trial asks of its base; null where its prompts are not prepared.

    Raises:
        InputError: The base can't be read, or the demonstrations can't be shown.
    """
    spec, layout = order.trial.spec, StoreLayout(Path(order.store))
    prompts = PromptTokenFigures.of(spec, layout)
    return None if prompts is None else _lengths(spec, layout, prompts, base=sketches.of(order, layout))


@dataclass(frozen=True)
class Lengths:
    """In tokens: what a base holds, its longest answer line, prompt and rationale; null where there is none yet."""

    context: int
    answer: int
    prompt: int = 0
    rationale: int | None = None


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
    return Outlook(base, tuple(_token_misfits(order, Lengths(context=base.context_tokens, answer=answer.longest))))


def _lengths(spec: TrialSpec, layout: StoreLayout, prompts: PromptTokenFigures, *, base: Path) -> Lengths:
    from workers.models.base import context_tokens

    made, rationales = BaseFigures.of(spec, layout), RationaleTokenFigures.of(spec, layout)
    has_all = spec.teacher is None or rationales is not None
    # Prompts that were prepared earlier do not count it: then the base's settings were the usual ones.
    of_base = made.longest_answer_tokens if made else 0
    return Lengths(
        context=made.context_tokens if made else context_tokens(base),
        answer=prompts.longest_answer_tokens or of_base,
        prompt=_longest_prompt(spec, layout, prompts, has_all=has_all, base=base),
        rationale=rationales.longest[spec.supervision] if rationales and spec.supervision else None,
    )


def _longest_prompt(
    spec: TrialSpec, layout: StoreLayout, prompts: PromptTokenFigures, *, has_all: bool, base: Path
) -> int:
    """Tokens before the answer, demonstrations or a task's prefix included.

    Args:
        has_all: Whether rationales are there where they are shown; at least so many tokens where they are not.

    Raises:
        InputError: The demonstrations can't be shown.
    """
    if spec.method is Method.FEW_SHOT and has_all:
        from workers.scoring.few_shot import few_shot_tokens

        return few_shot_tokens(spec, layout, base=base)
    is_multi_task = spec.training is not None and spec.training.objective.kind == "multi_task"
    return prompts.longest_prompt + (LONGEST_PREFIX if is_multi_task else 0)


def _token_misfits(order: WorkOrder, known: Lengths) -> list[Problem]:
    spec, problems = order.trial.spec, []
    allowed = spec.evaluation.max_new_tokens
    target = known.answer
    if known.rationale is not None:
        target += known.rationale
        target += spec.target.ordering == "label_first"  # a line break more, after the answer
    if target > allowed:
        longest = f"the longest {spec.supervision or spec.method} target, {target} tokens{_on_its_base(order)}"
        remedy = f"use at least {target}, or lower teacher.max_words"
        problems.append(Problem("evaluation.max_new_tokens", f"{allowed} is shorter than {longest}", remedy))
    written = max(allowed, spec.evaluation.reasoned_tokens)
    needed = known.prompt + max(target, written + known.answer)  # appended where no answer came in time
    if needed > known.context:
        what = f"an answer alone takes up to {needed} tokens"
        if known.prompt:
            answer = f"its answer up to {needed - known.prompt}, together {needed} tokens"
            what = f"the longest prompt takes {known.prompt} tokens and {answer}"
        what += f", the base holds {known.context}{_stated_in(order)}"
        remedy = f"choose a base with a longer context, or lower evaluation.max_new_tokens{_or_fewer_words(spec)}"
        problems.append(Problem("bases", what, remedy))
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
