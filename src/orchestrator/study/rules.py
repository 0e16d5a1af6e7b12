"""What must hold between the parts of a study file; single values are the models' business.

A rule looks only at parts that are sound in themselves, so that one mistake is reported once.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter

from orchestrator.study.axes import AXES, Axes
from orchestrator.study.axis_fields import swallowed_by
from orchestrator.study.bases import StudyBase, as_meant, recipe_of
from orchestrator.study.resources import shared_trials, spanned_devices, unknown_shares
from orchestrator.study.text.problems import closest
from orchestrator.study.text.source import Location, StudySource
from workers.contract.errors import Problem
from workers.contract.recipes.bases import CHAT, BaseRecipe
from workers.contract.recipes.cohorts import COHORT_SOURCES
from workers.contract.recipes.scorings import SCORINGS

# Names of bases and contrasts become columns, coordinates and headings.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
BASE: TypeAdapter[StudyBase] = TypeAdapter(StudyBase)


@dataclass(frozen=True)
class StudyDraft:
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


def cross_problems(draft: StudyDraft) -> list[Problem]:
    """Every broken rule between the sound parts of a draft."""
    return [
        *_missing_sections(draft),
        *_unfit_names(draft),
        *_repeated_values(draft),
        *_varied_training(draft),
        *_unknown_bases(draft),
        *_formats_without_prompt(draft),
        *_unfit_template(draft),
        *_unfit_engine(draft),
        *_lost_spaces(draft),
        *unknown_shares(draft),
        *spanned_devices(draft),
        *shared_trials(draft),
        *_contrast_problems(draft),
        *_interaction_problems(draft),
        *_look_problems(draft),
    ]


def _unfit_names(draft: StudyDraft) -> Iterator[Problem]:
    for section in ("bases", "contrasts", "interactions"):
        for name in draft.names(section):
            if not NAME.fullmatch(name):
                remedy = "use letters, digits, `.`, `_` and `-`, at most 63, a letter or digit first"
                yield draft.source.problem((section, name), what="is not a name", remedy=remedy)


def _repeated_values(draft: StudyDraft) -> Iterator[Problem]:
    """Equal values in a list, however they are written."""
    axes = [(*block, axis) for block in _blocks(draft) for axis in draft.source.value(block)]
    contrasts: list[Location] = [("contrasts", name) for name in draft.names("contrasts")]
    treatments = [(*at, "treatment") for at in contrasts]
    wheres = [(*at, "where", axis) for at in contrasts for axis in draft.sound(*at, "where") or ()]
    for at in (*axes, *treatments, *wheres, ("controls",)):
        values = draft.sound(*at)
        if not isinstance(values, list):
            continue
        firsts: dict[object, int] = {}
        for index, value in enumerate(values):
            first = firsts.setdefault(value, index)
            if first < index:
                shown, before = draft.source.written((*at, index)), draft.source.written((*at, first))
                yield draft.source.problem((*at, index), what=f"{shown} repeats {before}", remedy="remove one of them")


def _varied_training(draft: StudyDraft) -> Iterator[Problem]:
    """Settings that would have no effect, for an axis gives them a value in every trial."""
    blocks = [draft.source.value(block) for block in _blocks(draft)]
    for name, axis in AXES.items():
        section, _, field = axis.sets[0].partition(".")
        is_varied = axis.usual is None or any(name in block for block in blocks)
        if section == "training" and field in draft.names("training") and is_varied:
            yield draft.source.problem(("training", field), what="is an axis", remedy=f"move it to axes.{name}")


def _blocks(draft: StudyDraft) -> list[Location]:
    """Where the blocks of axes are, as far as they are mappings."""
    further = draft.source.value(("more_axes",))
    places: list[Location] = [("axes",), ("few_shot",)]
    places += [("more_axes", index) for index in range(len(further) if isinstance(further, list) else 0)]
    return [place for place in places if isinstance(draft.source.value(place), dict)]


def _missing_sections(draft: StudyDraft) -> Iterator[Problem]:
    """Sections that another section makes necessary."""
    given = {name for name, section in draft.source.data.items() if section is not None}
    if "axes" not in given and "few_shot" not in given:
        yield draft.source.problem(("axes",), what="is missing", remedy="add the axes of a grid, or `few_shot`")
    if "more_axes" in given and "axes" not in given:
        yield draft.source.problem(("more_axes",), what="has no first block", remedy="name its first block `axes`")
    if "axes" in given and "training" not in given:
        yield draft.source.problem(("training",), what="is missing", remedy="add a mapping with steps, batch_size")
    if draft.sound("checks", "reruns") and "axes" not in given:
        remedy = "add `axes`, or take it out"
        yield draft.source.problem(("checks", "reruns"), what="trains nothing again", remedy=remedy)
    if draft.sound("teacher", "kind") == "endpoint" and "endpoint" not in given:
        remedy = "add `endpoint: {base_url: http://127.0.0.1:8000/v1}`"
        yield draft.source.problem(("endpoint",), what="is missing: the teacher is an endpoint", remedy=remedy)


def _unknown_bases(draft: StudyDraft) -> Iterator[Problem]:
    declared = draft.names("bases")
    named: list[tuple[Location, str | None]] = [
        ((*block, "base", index), name)
        for block in _blocks(draft)
        for index, name in enumerate(draft.sound(*block, "base") or ())
    ]
    for at, name in (*named, (("teacher", "base"), draft.sound("teacher", "base"))):
        if name is not None and name not in declared:
            remedy = closest(name, declared, otherwise="declare it under `bases`")
            yield draft.source.problem(at, what=f"{name} is not among `bases`", remedy=remedy)


def _unfit_template(draft: StudyDraft) -> Iterator[Problem]:
    """`exam_summary` knows the Framingham columns and nothing else; `history` says what a lexicon names."""
    source = draft.sound("cohort", "source")
    template = draft.sound("prompt", "template") or "exam_summary"
    if source is None:
        return
    fitting = COHORT_SOURCES[source].template
    asks = (draft.sound("cohort", "outcome") or "cvd", draft.sound("cohort", "horizon_days") or 1826)
    if fitting == template == "exam_summary" and asks != ("cvd", 1826):
        what = "asks for cardiovascular disease within five years, which this cohort's labels do not answer"
        remedy = "read the file as a `table` with a mapping, which states its own question"
        yield draft.source.problem(("prompt", "template"), what=what, remedy=remedy)
    if template != fitting:
        what = f"{template} can't write the records of a {source} cohort"
        yield draft.source.problem(("prompt", "template"), what=what, remedy=f"write `template: {fitting}`")


def _formats_without_prompt(draft: StudyDraft) -> Iterator[Problem]:
    for name in draft.names("bases"):
        at = ("bases", name, "prompt_format")
        written = draft.sound(*at)
        if isinstance(written, str) and written != CHAT and written.count("{prompt}") != 1:
            what = f"{draft.source.written(at)} does not hold {{prompt}} once"
            remedy = f"write {{prompt}} where the record's text goes, or {CHAT} for the model's own template"
            yield draft.source.problem(at, what=what, remedy=remedy)


def _unfit_engine(draft: StudyDraft) -> Iterator[Problem]:
    """Engines write the likeliest tokens to their end: nothing is drawn, barred or read on the way."""
    engine = draft.sound("evaluation", "engine") or "transformers"
    if engine == "transformers":
        return
    for setting in (reading.asked_by for reading in SCORINGS.values() if reading.is_steered):
        if draft.sound("evaluation", setting):
            what = f"{engine} writes the likeliest tokens alone, and {setting} asks for others"
            yield draft.source.problem(
                ("evaluation", "engine"), what=what, remedy=f"remove {setting}, or write `engine: transformers`"
            )
    for name in draft.names("bases"):
        base = draft.sound("bases", name)
        if base is not None:
            yield from _unfit_for_engine(draft, engine, name, recipe_of(as_meant(BASE.validate_python(base))))
    precision = (draft.sound("training") or {}).get("precision", "float32")
    if engine == "vllm" and precision != "bfloat16" and "training" in draft.source.data:
        what = f"vllm has adapters in bfloat16 alone, and training.precision is {precision}"
        remedy = "write `precision: bfloat16` under `training`, or `engine: transformers`"
        yield draft.source.problem(("evaluation", "engine"), what=what, remedy=remedy)


def _unfit_for_engine(draft: StudyDraft, engine: str, name: str, base: BaseRecipe) -> Iterator[Problem]:
    at: Location = ("evaluation", "engine")
    if base.decoding.temperature > 0:
        what = f"{engine} writes the likeliest tokens alone, and base {name} samples at {base.decoding.temperature}"
        remedy = f"remove bases.{name}.decoding, or write `engine: transformers`"
        yield draft.source.problem(at, what=what, remedy=remedy)
    if base.reading == "cache":
        what = f"{engine} writes apart from where base {name} is read, on the cache of what it wrote"
        remedy = f"write `reading: text` under bases.{name}, or `engine: transformers`"
        yield draft.source.problem(at, what=what, remedy=remedy)


def _lost_spaces(draft: StudyDraft) -> Iterator[Problem]:
    """YAML takes the space before a bare word, and a label with it is another token than one without."""
    for name in draft.names("bases"):
        pairs = draft.sound("bases", name, "label_spellings") or ()
        for at in (("bases", name, "label_spellings", row, side) for row in range(len(pairs)) for side in (0, 1)):
            if draft.source.has_lost_space(at):
                word = draft.source.written(at)
                what = f"the space before {word} is gone: YAML takes it from what is not quoted"
                yield draft.source.problem(at, what=what, remedy=f'write " {word}", or "{word}" without one')


def _contrast_problems(draft: StudyDraft) -> Iterator[Problem]:
    for name in draft.names("contrasts"):
        at: Location = ("contrasts", name)
        axis: str = draft.sound(*at, "axis") or "supervision"
        if axis not in AXES:
            continue  # its own problem, found before
        treatment: list[object] = draft.sound(*at, "treatment") or []
        reference: object = draft.sound(*at, "reference")
        named = {(*at, "treatment", index): value for index, value in enumerate(treatment)}
        if reference is not None:
            named[(*at, "reference")] = reference
        yield from _unknown_levels(draft, axis, named)
        if reference in treatment:
            remedy = "name another reference, or take it out of treatment"
            yield draft.source.problem((*at, "reference"), what=f"{reference} is in treatment too", remedy=remedy)
        yield from _where_problems(draft, at, axis)


def _where_problems(draft: StudyDraft, at: Location, axis: str) -> Iterator[Problem]:
    """Axes that a contrast may not be narrowed by, values that they don't have, and axes that it must name."""
    where: dict[str, list[object]] = draft.sound(*at, "where") or {}
    for other, values in where.items():
        place = (*at, "where", other)
        if other == axis:
            yield draft.source.problem(place, what="is the contrast's own axis", remedy="remove it")
        elif not _levels(draft, other):
            known = [known for known in AXES if known != axis and _levels(draft, known)]
            remedy = closest(other, known, otherwise=f"name one of {', '.join(known)}")
            yield draft.source.problem(place, what="is not an axis of the study", remedy=remedy)
        else:
            yield from _unknown_levels(draft, other, {(*place, index): value for index, value in enumerate(values)})
    for part in swallowed_by(axis) if axis != "shows" else ():  # few-shot trials have one teacher
        if part not in where and len(_levels(draft, part)) > 1:
            what = f"has several trials a cell, for {part} is a part of {axis}"
            remedy = f"add `where: {{{part}: [{_levels(draft, part)[0]}]}}`"
            yield draft.source.problem(at, what=what, remedy=remedy)


def _unknown_levels(draft: StudyDraft, axis: str, named: Mapping[Location, object]) -> Iterator[Problem]:
    levels = _levels(draft, axis)
    if not levels and any(draft.source.value((*block, axis)) is not None for block in _blocks(draft)):
        return  # its own problem, found before
    section = "axes" if axis in Axes.axes() else "few_shot"
    for place, value in named.items():
        if value not in levels:
            remedy = "add it there" + (f", or name one of {', '.join(map(str, levels))}" if levels else "")
            yield draft.source.problem(place, what=f"{value} is not on {section}.{axis}", remedy=remedy)


def _levels(draft: StudyDraft, axis: str) -> list[object]:
    """All values of an axis over the blocks, and what a block has that does not vary it; empty for no axis."""
    lists = [draft.sound(*block, axis) for block in _blocks(draft)]
    levels = [value for values in lists if isinstance(values, list) for value in values]
    if levels and axis in AXES and AXES[axis].usual is not None:
        said = draft.sound(*AXES[axis].usual_at.split("."))
        levels.append(AXES[axis].usual if said is None else said)
    return list(dict.fromkeys(levels))


def _interaction_problems(draft: StudyDraft) -> Iterator[Problem]:
    declared = draft.names("contrasts")
    for name in draft.names("interactions"):
        sides = {side: draft.sound("interactions", name, side) for side in ("of", "minus")}
        for side, contrast in sides.items():
            if contrast is not None and contrast not in declared:
                remedy = closest(contrast, declared, otherwise="declare it under `contrasts`")
                what = f"{contrast} is not among `contrasts`"
                yield draft.source.problem(("interactions", name, side), what=what, remedy=remedy)
        if sides["of"] is not None and sides["of"] == sides["minus"]:
            at = ("interactions", name, "minus")
            yield draft.source.problem(at, what=f"{sides['of']} stands on both sides", remedy="name another contrast")


def _look_problems(draft: StudyDraft) -> Iterator[Problem]:
    """A look decides by a rule over the cells of a contrast, and nobody sees scores meanwhile."""
    looks = draft.sound("looks") or ()
    for index, (before, after) in enumerate(pairwise(looks), start=1):
        if after <= before:
            yield draft.source.problem(("looks", index), what=f"{after} comes after {before}", remedy="let them rise")
    if looks and not draft.names("contrasts"):
        yield draft.source.problem(("looks",), what="have no contrast to look at", remedy="declare one")
    if looks and draft.sound("blind") is False:
        remedy = "take out `blind: false`, or the looks"
        yield draft.source.problem(("looks",), what="are no rule where people see scores and may stop", remedy=remedy)
