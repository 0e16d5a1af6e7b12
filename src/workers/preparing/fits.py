"""Whether a trial can run with the inputs that were prepared for it: enough participants, enough context."""

from workers.contract.errors import InputError, Problem
from workers.contract.inputs import Counts, InputKind, Manifest, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.trial import Method, TrialSpec

# Bounds: a token holds at least one character of the prefix `[rationale] ` of a task.
LONGEST_PREFIX = 12


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
        try:
            problems += _token_misfits(spec, counts, longest_prompt=_longest_prompt(spec, layout, counts))
        except InputError as error:
            problems += error.problems
    return problems


def _longest_prompt(spec: TrialSpec, layout: StoreLayout, counts: dict[InputKind, Counts]) -> int:
    """Tokens before the answer, demonstrations or a task's prefix included.

    Raises:
        InputError: The demonstrations can't be shown.
    """
    if spec.method is Method.FEW_SHOT:
        from workers.scoring.few_shot import few_shot_tokens

        return few_shot_tokens(spec, layout)
    is_multi_task = spec.training is not None and spec.training.objective.kind == "multi_task"
    return int(counts[InputKind.PROMPT_TOKENS]["longest prompt"]) + (LONGEST_PREFIX if is_multi_task else 0)


def _token_misfits(spec: TrialSpec, counts: dict[InputKind, Counts], *, longest_prompt: int) -> list[Problem]:
    problems = []
    allowed = spec.evaluation.max_new_tokens
    # Prompts that were prepared earlier do not count it: then the base's settings were the usual ones.
    forced_line = target = int({**counts[InputKind.BASE], **counts[InputKind.PROMPT_TOKENS]}["longest_answer_tokens"])
    if spec.supervision is not None and InputKind.RATIONALE_TOKENS in counts:
        target += int(counts[InputKind.RATIONALE_TOKENS][f"longest {spec.supervision}"])
        target += spec.target.ordering == "label_first"  # a line break more, after the answer
    if target > allowed:
        problems.append(
            Problem(
                "evaluation.max_new_tokens",
                f"{allowed} is shorter than the longest {spec.supervision or spec.method} target, {target} tokens",
                f"use at least {target}, or lower teacher.max_words",
            )
        )
    context = int(counts[InputKind.BASE]["context_tokens"])
    written = max(allowed, spec.evaluation.reasoned_tokens)
    needed = longest_prompt + max(target, written + forced_line)  # appended where no answer came in time
    if needed > context:
        problems.append(
            Problem(
                "bases",
                f"the longest prompt with its answer takes {needed} tokens, the base holds {context}",
                "choose a base with a longer context or lower evaluation.max_new_tokens",
            )
        )
    return problems
