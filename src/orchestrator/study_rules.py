"""What must hold between the parts of a study file; single values are the models' business.

A rule looks only at parts that are sound in themselves, so that one mistake is reported once.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.study_problems import closest
from orchestrator.study_source import Location, StudySource
from workers.contract.bases import CHAT
from workers.contract.errors import Problem

# Names of bases and contrasts become columns, coordinates and headings.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Draft:
    """A study file, and the locations in it that are known to be wrong."""

    source: StudySource
    broken: frozenset[Location]

    def sound(self, *at: str | int) -> Any:  # noqa: ANN401  a JSON value whose type the schema vouches for
        """The value at a location; None if it is absent or something is wrong above, at or below it."""
        if any(place[: len(at)] == at[: len(place)] for place in self.broken):
            return None
        return self.source.value(at)

    def names(self, section: str) -> list[str]:
        """Keys of a section, also of one whose values are wrong."""
        value = self.source.value((section,))
        return list(value) if isinstance(value, dict) else []


def cross_problems(draft: Draft) -> list[Problem]:
    """Every broken rule between the sound parts of a draft."""
    return [
        *_missing_sections(draft),
        *_unfit_names(draft),
        *_repeated_values(draft),
        *_varied_training(draft),
        *_unknown_bases(draft),
        *_formats_without_prompt(draft),
        *_contrast_problems(draft),
    ]


def _unfit_names(draft: Draft) -> Iterator[Problem]:
    for section in ("bases", "contrasts"):
        for name in draft.names(section):
            if not NAME.fullmatch(name):
                remedy = "use letters, digits, `.`, `_` and `-`, at most 63, a letter or digit first"
                yield draft.source.problem((section, name), what="is not a name", remedy=remedy)


def _repeated_values(draft: Draft) -> Iterator[Problem]:
    """Equal values in a list, however they are written."""
    axes = [(*block, axis) for block in _blocks(draft) for axis in draft.source.value(block)]
    treatments: list[Location] = [("contrasts", name, "treatment") for name in draft.names("contrasts")]
    for at in (*axes, *treatments, ("controls",)):
        values = draft.sound(*at)
        if not isinstance(values, list):
            continue
        for index, value in enumerate(values):
            first = values.index(value)
            if first < index:
                shown, before = draft.source.written((*at, index)), draft.source.written((*at, first))
                yield draft.source.problem((*at, index), what=f"{shown} repeats {before}", remedy="remove one of them")


def _varied_training(draft: Draft) -> Iterator[Problem]:
    for axis in ("learning_rate", "seed"):
        if axis in draft.names("training"):
            yield draft.source.problem(("training", axis), what="is an axis", remedy=f"move it to axes.{axis}")


def _blocks(draft: Draft) -> list[Location]:
    """Where the blocks of axes are, as far as they are mappings."""
    further = draft.source.value(("more_axes",))
    places: list[Location] = [("axes",), ("few_shot",)]
    places += [("more_axes", index) for index in range(len(further) if isinstance(further, list) else 0)]
    return [place for place in places if isinstance(draft.source.value(place), dict)]


def _missing_sections(draft: Draft) -> Iterator[Problem]:
    """Sections that another section makes necessary."""
    given = draft.source.data
    if "axes" not in given and "few_shot" not in given:
        yield draft.source.problem(("axes",), what="is missing", remedy="add the axes of a grid, or `few_shot`")
    if "more_axes" in given and "axes" not in given:
        yield draft.source.problem(("more_axes",), what="has no first block", remedy="name its first block `axes`")
    if "axes" in given and "training" not in given:
        yield draft.source.problem(("training",), what="is missing", remedy="add a mapping with steps, batch_size")
    if draft.sound("teacher", "kind") == "endpoint" and "endpoint" not in given:
        remedy = "add `endpoint: {base_url: http://127.0.0.1:8000/v1}`"
        yield draft.source.problem(("endpoint",), what="is missing: the teacher is an endpoint", remedy=remedy)


def _unknown_bases(draft: Draft) -> Iterator[Problem]:
    declared = draft.names("bases")
    for block in _blocks(draft):
        for index, name in enumerate(draft.sound(*block, "base") or ()):
            if name not in declared:
                remedy = closest(name, declared, otherwise="declare it under `bases`")
                yield draft.source.problem((*block, "base", index), what=f"{name} is not among `bases`", remedy=remedy)


def _formats_without_prompt(draft: Draft) -> Iterator[Problem]:
    for name in draft.names("bases"):
        at = ("bases", name, "prompt_format")
        written = draft.sound(*at)
        if isinstance(written, str) and written != CHAT and written.count("{prompt}") != 1:
            what = f"{draft.source.written(at)} does not hold {{prompt}} once"
            remedy = f"write {{prompt}} where the record's text goes, or {CHAT} for the model's own template"
            yield draft.source.problem(at, what=what, remedy=remedy)


def _contrast_problems(draft: Draft) -> Iterator[Problem]:
    on_axis = draft.sound("axes", "supervision")
    for name in draft.names("contrasts"):
        treatment: list[str] = draft.sound("contrasts", name, "treatment") or []
        reference: str | None = draft.sound("contrasts", name, "reference")
        at: Location = ("contrasts", name)
        named = {(*at, "treatment", index): value for index, value in enumerate(treatment)}
        if reference is not None:
            named[(*at, "reference")] = reference
        for place, value in named.items() if on_axis else ():
            if value not in on_axis:
                remedy = f"add it there, or name one of {', '.join(on_axis)}"
                yield draft.source.problem(place, what=f"{value} is not on axes.supervision", remedy=remedy)
        if reference in treatment:
            remedy = "name another reference, or take it out of treatment"
            yield draft.source.problem((*at, "reference"), what=f"{reference} is in treatment too", remedy=remedy)
