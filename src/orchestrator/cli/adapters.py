"""`sweep score` and `sweep export`: a stored adapter applied to another cohort, or copied out of its store."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import (
    STORES,
    AsJson,
    StoreRoot,
    StudyFile,
    TrialId,
    console_of,
    named,
    open_study,
    print_json,
    shown,
)
from orchestrator.saying.addressing import given_text, local_path, typed
from workers.contract.files import true_path
from workers.contract.layout import StoreLayout


def score(
    cohort: Annotated[
        Path,
        typer.Argument(metavar="COHORT", parser=local_path, help="a study, or any YAML file with a `cohort` section"),
    ],
    trial: TrialId,
    store: StoreRoot = STORES,
    as_json: AsJson = False,
) -> None:
    """Apply the adapter of a committed trial to another cohort; nothing is trained."""
    from orchestrator.asking import ask
    from orchestrator.cli.views.transfer import disclosed, show_transfer
    from orchestrator.explain.lookup import find_committed
    from orchestrator.study.cohort import load_study_cohort
    from workers.contract.answers.questions import APPLY_ADAPTER
    from workers.contract.answers.transfer import TransferOrder

    other = load_study_cohort(cohort)
    trial_id, layout = find_committed(trial, stores_below(store))
    order = TransferOrder(
        trial_id=trial_id,
        store=str(layout.root),
        cohort=other.recipe,
        sources={other.source_digest: str(other.place)} if other.source_digest else {},
    )
    shown = disclosed(ask(APPLY_ADAPTER, order), min_cell=other.min_cell)
    if as_json:
        print_json(shown)
    else:
        show_transfer(console_of(), shown)


def stores_below(folder: Path) -> list[StoreLayout]:
    """A folder as a store, and each folder in it."""
    folders = [folder, *sorted(folder.iterdir())] if folder.is_dir() else []
    return [StoreLayout(true_path(path)) for path in folders if path.is_dir()]


Reason = Annotated[
    str,
    typer.Option(
        "--despite-membership", metavar="REASON", parser=given_text, help="whatever the check finds; is recorded"
    ),
]


def export(
    study: StudyFile,
    to: Annotated[
        Path,
        typer.Option("--to", metavar="FOLDER", parser=local_path, help="a new folder; no adapter in a git work tree"),
    ],
    trial: Annotated[
        str | None, typer.Argument(metavar="[TRIAL]", help="a trial's id, or how it begins; else the whole study")
    ] = None,
    despite: Reason = "",
    store: StoreRoot = STORES,
    as_json: AsJson = False,
) -> None:
    """Copy a trial's adapter out of its store in peft's format, unless it tells who was trained on; or, without one,
    write a bundle of the study that `sweep verify` checks offline."""
    if trial is None:
        _bundle(study, store, true_path(to), as_json=as_json)
        return
    from orchestrator.asking import ask
    from orchestrator.design.grid import expand
    from orchestrator.explain.lookup import Known, find_trial
    from orchestrator.store.machine import account, now
    from orchestrator.store.outcomes import read_outcomes
    from workers.contract.answers.export import ExportOrder
    from workers.contract.answers.questions import EXPORT_ADAPTER

    loaded, layout = open_study(study, store)
    trial_id = find_trial(trial, Known(expand(loaded), read_outcomes(layout), {}, named=named(study, store)))
    order = ExportOrder(
        trial_id=trial_id,
        store=str(layout.root),
        to=str(true_path(to)),
        by=account(),
        at=now(),
        data_class=loaded.cohort.data_class,
        reason=despite,
    )
    with console_of(stderr=True).status("comparing what was trained on with what was not"):
        exported = ask(EXPORT_ADAPTER, order)
    if as_json:
        print_json(exported, without={"problems"})
        return
    console = console_of()
    console.print(f"check    {exported.membership}")
    if exported.membership and not exported.membership.is_within:
        why = f"left all the same: {despite}" if despite else f"its cohort is {loaded.cohort.data_class}, so it leaves"
        console.print(f"         beyond the bounds, or too few to be sure; {why}")
    console.print(f"adapter  {shown(true_path(to))}   ({', '.join(exported.files)})")


def _bundle(study: Path, stores: Path, to: Path, *, as_json: bool) -> None:
    from orchestrator.explain.bundle import make_bundle
    from orchestrator.saying.terminal import working

    loaded, layout = open_study(study, stores)
    with working(console_of(stderr=True), "writing the bundle, and analysing it"):
        made = make_bundle(loaded, layout, to)
    if as_json:
        print_json(made)
        return
    console_of().print(
        f"bundle   {shown(to)}   ({made.grade} of a {made.data_class} cohort, {len(made.files)} files)\n"
        f"rebuilds {', '.join(made.grade.rebuilt)}; not {'; nor '.join(made.grade.not_rebuilt)}\n"
        f"check    {typed('sweep', 'verify', shown(to))}"
    )
