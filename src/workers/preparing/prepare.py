"""Inputs once a store: every input that trials need is made, published, and seen to fit them.

In two stages. Texts and tokens come first, for they take seconds and tell whether a trial fits its base; then bases are
made and prove themselves. What a language model writes as the teacher costs more than either and comes last.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path

from workers.contract.errors import InputError, Problem
from workers.contract.inputs import InputKind, Stage, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.trial import TrialSpec, WorkOrder
from workers.preparing.fits import misfits, teacher_misfits
from workers.preparing.sketches import Sketches
from workers.preparing.workshop import Workshop
from workers.store.published import publish
from workers.work.allocator import keep_freed_memory

Problems = tuple[Problem, ...]

BY_A_TEACHER = (InputKind.RATIONALES, InputKind.RATIONALE_TOKENS)
OF_A_BASE = (InputKind.BASE, InputKind.PROOF)
OF_THE_TEACHER = (InputKind.TEACHER_BASE, InputKind.TEACHER_PROOF)


def prepare(orders: Iterable[WorkOrder]) -> None:
    """Make every input that the orders need and that the store lacks, and see that every trial fits.

    Raises:
        InputError: A source file is missing or wrong, or a trial can't be run with these inputs (all such at once).
    """
    given = list(orders)
    for stage in Stage:
        if unfit := make(given, stage):
            raise InputError(*chain.from_iterable(unfit.values()))


def make(orders: Iterable[WorkOrder], stage: Stage) -> dict[str, Problems]:
    """Make the inputs of one stage, and say why trials can't be run with them, by trial id."""
    keep_freed_memory()
    unfit, refused = {}, dict[str, Problems]()
    with Sketches.opened() as sketches:
        for order in orders:
            problems = _made(order, stage, sketches, refused=refused)
            if problems:
                unfit[order.trial.trial_id] = tuple(of_its_base(problem, order) for problem in problems)
    return unfit


def _made(order: WorkOrder, stage: Stage, sketches: Sketches, *, refused: dict[str, Problems]) -> Problems:
    """Make one trial's inputs of a stage; why it can't be run.

    Args:
        refused: What could not be made for another trial, and why, by the input's digest; added to.
    """
    spec, layout = order.trial.spec, StoreLayout(Path(order.store))
    workshop = Workshop(layout, order, sketches)
    recipes = input_recipes(spec)
    kinds = [kind for kind in kinds_of(stage, spec) if kind in recipes]
    for kind in kinds:
        digest = recipes[kind].digest()
        try:
            if digest not in refused:
                publish(recipes[kind], layout, workshop.builder(kind))
        except InputError as error:
            refused[digest] = error.problems
        if digest in refused:
            return tuple(map(of_the_teacher, refused[digest])) if kind in OF_THE_TEACHER else refused[digest]
    of_the_asked = teacher_misfits(order, sketches) if stage is Stage.TEXTS else ()
    return (*(misfits(order, sketches) if kinds else ()), *map(of_the_teacher, of_the_asked))


def kinds_of(stage: Stage, spec: TrialSpec) -> tuple[InputKind, ...]:
    """What is made at a stage, in order."""
    is_asked = spec.teacher is not None and spec.teacher.kind != "template"
    last = (*OF_A_BASE, *OF_THE_TEACHER, *(BY_A_TEACHER if is_asked else ()))
    return last if stage is Stage.BASES else tuple(kind for kind in InputKind if kind not in last)


def of_the_teacher(problem: Problem) -> Problem:
    """A problem of the base that is the teacher, at its name in the study."""
    return replace(problem, where="teacher.base") if problem.where == "bases" else problem


def of_its_base(problem: Problem, order: WorkOrder) -> Problem:
    """A problem of a base, at the base's name in the study."""
    name = order.trial.coordinates.get("base")
    return replace(problem, where=f"bases.{name}") if problem.where == "bases" and name is not None else problem
