"""`sweep base`: see whether a base model can be trained and scored before a study is built on it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.failing import EXIT_BAD_INPUT
from orchestrator.cli.options import AsJson, console_of, print_json
from orchestrator.saying.addressing import local_path
from workers.contract.errors import InputError, Problem
from workers.contract.trial import Precision

base_app = typer.Typer(no_args_is_help=True, help="Check a base model before a study is built on it.")


@base_app.callback()
def options() -> None:
    """What goes before a command."""


@base_app.command()
def check(
    place: Annotated[
        Path,
        typer.Argument(metavar="PLACE", parser=local_path, help="a model's folder, a GGUF file, or a study (YAML)"),
    ],
    precision: Annotated[Precision, typer.Option(help="of a folder or file; a study says its own")] = "float32",
    as_json: AsJson = False,
) -> None:
    """Prove a base: its tensors, ends and labels, that rows score alone as together, that an adapter learns."""
    from orchestrator.asking import ask
    from orchestrator.cli.views.base import show_proof
    from orchestrator.study.proving import questions_at
    from workers.contract.answers.questions import PROVE_BASE

    questions = questions_at(place, precision=precision)
    answers = {name: ask(PROVE_BASE, question) for name, question in questions.items()}
    if as_json:
        print_json({name: answer.model_dump(mode="json") for name, answer in answers.items()})  # the problems are in it
        raise typer.Exit(EXIT_BAD_INPUT if any(answer.problems for answer in answers.values()) else 0)
    for name, answer in answers.items():
        if answer.proof is not None:
            show_proof(console_of(), name, answer.proof, sha256=getattr(questions[name].base, "sha256", ""))
    sys.stdout.flush()
    if problems := [
        Problem(f"{name}: {found.where}", found.what, found.remedy)
        for name, answer in answers.items()
        for found in answer.problems
    ]:
        raise InputError(*problems)
