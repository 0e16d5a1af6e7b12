"""`sweep export`: an adapter leaves its store, with what it tells of whom it was trained on."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import STORES, AsJson, StoreRoot, StudyFile, console_of, open_study, print_json, shown


def export(
    study: StudyFile,
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="a trial's id, or how it begins: 4 digits or more")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="a new folder outside of any git work tree")],
    despite: Annotated[
        str, typer.Option("--despite-membership", metavar="REASON", help="whatever the check finds; is recorded")
    ] = "",
    store: StoreRoot = STORES,
    as_json: AsJson = False,
) -> None:
    """Copy a trial's adapter out of its store, in peft's format, unless it tells who was trained on."""
    from orchestrator.asking import export_adapter
    from orchestrator.design.grid import expand
    from orchestrator.explain.lookup import Known, find_trial
    from orchestrator.store.machine import account, now
    from orchestrator.store.outcomes import read_outcomes
    from workers.contract.answers.export import ExportOrder

    loaded, layout = open_study(study, store)
    trial_id = find_trial(trial, Known(expand(loaded), read_outcomes(layout), {}, named=str(study)))
    order = ExportOrder(
        trial_id=trial_id,
        store=str(layout.root),
        to=str(to.resolve()),
        by=account(),
        at=now(),
        data_class=loaded.cohort.data_class,
        reason=despite,
    )
    with console_of(stderr=True).status("comparing what was trained on with what was not"):
        exported = export_adapter(order)
    if as_json:
        print_json(exported.model_dump(mode="json", exclude={"problems"}))
        return
    console = console_of()
    console.print(f"check    {exported.membership}", soft_wrap=True, markup=False)
    if exported.membership and not exported.membership.is_within:
        why = f"left all the same: {despite}" if despite else f"its cohort is {loaded.cohort.data_class}, so it leaves"
        console.print(f"         beyond the bounds, or too few to be sure; {why}", soft_wrap=True, markup=False)
    console.print(f"adapter  {shown(to.resolve())}   ({', '.join(exported.files)})", soft_wrap=True, markup=False)
