"""The bases behind a place that somebody points at: a model's folder, a GGUF file, or all those of a study."""

from pathlib import Path

from orchestrator.study.bases import StudyBase, StudyFolder, StudyGguf, as_meant, places_of, recipe_of
from orchestrator.study.files import check_sources
from orchestrator.study.study import load_study
from workers.contract.answers.proof import BaseQuestion
from workers.contract.errors import InputError, Problem
from workers.contract.files import true_path
from workers.contract.system.sources import digest_of_model
from workers.contract.trial import Precision


def questions_at(place: Path, *, precision: Precision) -> dict[str, BaseQuestion]:
    """What a worker is asked to prove, by the base's name.

    Args:
        precision: Of a folder or a file; a study says its own.

    Raises:
        InputError: There is nothing there, or the study won't do.
    """
    if not place.exists():
        raise InputError(Problem(str(place), "is not there", "give a model's folder, a GGUF file or a study"))
    if place.is_dir():
        base = StudyFolder(kind="folder", sha256=digest_of_model(place), folder=true_path(place))
        return {true_path(place).name: _question(base, precision)}
    if place.suffix == ".gguf":
        file = StudyGguf(kind="gguf", file=str(true_path(place)), sha256=digest_of_model(place))
        return {place.stem: _question(file, precision)}
    if place.name == "config.json" or place.suffix == ".safetensors":
        raise InputError(Problem(str(place), "is one file of a model", f"give its folder, {true_path(place).parent}"))
    study = load_study(place)
    check_sources(study)
    precision = study.training.precision if study.training is not None else precision
    return {name: _question(base, precision) for name, base in study.bases.items()}


def _question(base: StudyBase, precision: Precision) -> BaseQuestion:
    sources = {digest: str(place) for digest, place in places_of(base).items()}
    return BaseQuestion(base=recipe_of(as_meant(base)), precision=precision, sources=sources)
