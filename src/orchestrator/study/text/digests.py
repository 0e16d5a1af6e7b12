"""The digest that a study file lacks, worked out from the file or folder that stands beside it: about a second a GB."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from orchestrator.study.text.source import Location, StudySource
from workers.contract.errors import InputError, Problem
from workers.contract.system.sources import digest_of_model, digest_of_place, locate_in_package

KEY = "sha256"


def with_digests(found: Mapping[Location, Problem], source: StudySource) -> dict[Location, Problem]:
    """The same problems; where a digest is missing and what it is of is there, the remedy says it."""
    return {at: _told(problem, at, source) for at, problem in found.items()}


def _told(problem: Problem, at: Location, source: StudySource) -> Problem:
    if at[-1:] != (KEY,) or source.value(at) is not None or (place := _place(at[:-1], source)) is None:
        return problem
    try:
        digest = (digest_of_model if at[0] == "bases" else digest_of_place)(place)
    except (InputError, OSError):
        return problem
    return replace(problem, remedy=f"if {place.name} is what you mean, add `{KEY}: {digest}`")


def _place(at: Location, source: StudySource) -> Path | None:
    """What a digest would be of; null where it is not there, or nobody says where."""
    said = source.value((*at, "file")) or source.value((*at, "folder"))
    package = source.value((*at, "package"))
    if not isinstance(said, str):
        return None
    place = locate_in_package(str(package), said) if package else source.path.parent / said
    with suppress(OSError):  # a name that no file can have
        if place is not None and place.exists():
            return place
    return None
