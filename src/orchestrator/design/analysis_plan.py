"""What a study is to be judged by, as text part by part, and how a study file of today deviates from what was sealed.

Pure. The parts are question, blinding, looks, design, cohort, scoring, contrasts in their order, interactions, checks,
and the rules that the code holds; what determines a trial's numbers beside these stands in the trials' ids.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from orchestrator.study.study import Contrast, Study
from workers.contract.outcome import Record

NOT_SAID = "not said"
LOOKS = "looks"


@dataclass(frozen=True)
class PlanPart:
    """One part of a plan; `is_usual` where it is what a study means that says nothing of it.

    value, said: of a field of a model all that it holds, and of that what is not usual.
    """

    text: str
    is_usual: bool = False
    value: object = None
    said: object = None

    def beside(self, sealed: str) -> str:
        """Its text without the usual in fields that are younger than the sealed one."""
        return written(_as_of(sealed, self.value, self.said)) if self.value is not None else self.text


class AnalysisPlan(Record):
    """The parts by name, and the contrasts as they can be computed; the first is the primary one."""

    parts: dict[str, str]
    contrasts: dict[str, Contrast]


class Deviation(Record):
    """A part that is not as it was sealed."""

    part: str
    sealed: str
    today: str

    def __str__(self) -> str:
        return f"{self.part}: {self.sealed} → {self.today}"


def plan_of(study: Study, rules: Mapping[str, str]) -> AnalysisPlan:
    """The plan of a study file.

    Args:
        rules: Of the code: what no study file says and its answer follows from.
    """
    parts = {name: part.text for name, part in _parts(study, rules).items()}
    return AnalysisPlan(parts=parts, contrasts=dict(study.contrasts))


def deviations(sealed: AnalysisPlan, study: Study, rules: Mapping[str, str]) -> tuple[Deviation, ...]:
    """Every part that differs; one that came up later counts once a study says of it what is not usual."""
    today = _parts(study, rules)
    added = [name for name, part in today.items() if name not in sealed.parts and not part.is_usual]
    compared = ((name, sealed.parts.get(name, NOT_SAID)) for name in (*sealed.parts, *added))
    differing = ((name, text) for name, text in compared if name not in today or today[name].beside(text) != text)
    return tuple(
        Deviation(part=name, sealed=text, today=today[name].text if name in today else NOT_SAID)
        for name, text in differing
    )


def written(value: object) -> str:
    """A value as a study file may write it, on one line."""
    return json.dumps(value, ensure_ascii=False).replace('"', "")


def contrast_text(contrast: Contrast) -> str:
    """A contrast as a study file writes it."""
    return written(contrast.model_dump(mode="json", exclude_defaults=True))


def _parts(study: Study, rules: Mapping[str, str]) -> dict[str, PlanPart]:
    interactions = {name: one.model_dump(mode="json") for name, one in study.interactions.items()}
    blocks = {f"axes {number}" if number > 1 else "axes": block for number, block in enumerate(study.blocks, start=1)}
    return {
        "question": PlanPart(study.question),
        "blind": PlanPart(written(study.blind)),
        LOOKS: PlanPart(written(study.looks), is_usual=not study.looks),
        "contrasts": PlanPart(written(list(study.contrasts))),
        **{f"contrasts.{name}": PlanPart(contrast_text(contrast)) for name, contrast in study.contrasts.items()},
        **{f"interactions.{name}": PlanPart(written(one)) for name, one in interactions.items()},
        **dict(_fields("checks", study.checks)),
        **{name: part for prefix, block in blocks.items() for name, part in _fields(prefix, block)},
        **(dict(_fields("few_shot", study.few_shot)) if study.few_shot else {}),
        "controls": PlanPart(written([str(control) for control in study.controls])),
        **dict(_fields("cohort", study.cohort.recipe)),
        **dict(_fields("evaluation", study.evaluation)),
        **{f"rules.{name}": PlanPart(text, is_usual=True) for name, text in rules.items()},
    }


def _fields(prefix: str, model: BaseModel) -> Iterator[tuple[str, PlanPart]]:
    said = model.model_dump(mode="json", exclude_defaults=True)
    for name, value in model.model_dump(mode="json").items():
        yield f"{prefix}.{name}", PlanPart(written(value), name not in said, value, said.get(name))


def _as_of(sealed: str, value: object, said: object) -> object:
    """What a model holds, but for fields at their defaults of which a sealed text knows nothing: silence means them."""
    if isinstance(value, dict) and isinstance(said, dict):
        known = {name: one for name, one in value.items() if name in said or f"{name}: " in sealed}
        return {name: _as_of(sealed, one, said.get(name)) for name, one in known.items()}
    if isinstance(value, list) and isinstance(said, list):
        return [_as_of(sealed, one, of_it) for one, of_it in zip(value, said, strict=True)]
    return value
