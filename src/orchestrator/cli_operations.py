"""`sweep verify`, `sweep explain` and `sweep doctor`: what a store, a trial and this machine are good for."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli_options import STORES, AsJson, StoreRoot, StudyFile, console_of, open_study, print_json
from workers.contract.errors import InputError, Problem

if TYPE_CHECKING:
    from orchestrator.verification import Verification
    from workers.contract.layout import StoreLayout


def verify(
    study: StudyFile,
    store: StoreRoot = STORES,
    retrain: Annotated[int, typer.Option("--retrain", min=0, metavar="N", help="train N trials again, compare")] = 0,
    set_aside: Annotated[
        bool, typer.Option("--quarantine", help="move damaged outcomes away, so that `sweep run` does them again")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check every file of every committed trial and input; compute all scores again from the predictions."""
    from contextlib import nullcontext
    from dataclasses import asdict

    from orchestrator.holding import hold_lock
    from orchestrator.store import Outcomes, quarantine, read_outcomes
    from orchestrator.verification import verify_store

    loaded, layout = open_study(study, store)
    _need_trials(study, layout)
    n_moved = 0
    # Held from the first look on: what a driver commits meanwhile would be moved for the damage of what it replaced.
    with hold_lock(layout) if set_aside else nullcontext():
        with console_of(stderr=True).status("reading every file, and scoring again, about 0.1 s a trial"):
            found = verify_store(loaded, layout, n_retrain=retrain)
        if set_aside and found.damaged_trials:
            held = read_outcomes(layout)
            n_moved = quarantine(layout, Outcomes(held.committed, {**held.broken, **found.damaged_trials}))
    if as_json:
        print_json({**asdict(found), "n_quarantined": n_moved, "exit_code": found.exit_code})
    else:
        _show_verification(found, study, n_moved=n_moved)
    raise typer.Exit(found.exit_code)


def _need_trials(study: StudyFile, layout: "StoreLayout") -> None:
    if not layout.trials.is_dir():
        raise InputError(Problem(str(layout.root), "holds no trial yet", f"run `sweep run {study}` first"))


def _show_verification(found: "Verification", study: StudyFile, *, n_moved: int) -> None:
    """What was read, what is wrong with it, and what to do."""
    from orchestrator.verification import Part

    console = console_of()
    console.print(
        f"{found.n_outcomes} outcomes, {found.n_inputs} inputs: {found.n_files} files, {found.n_bytes / 1e6:,.1f} MB "
        f"checked; {found.n_recomputed} trials scored again from their predictions",
        soft_wrap=True,
    )
    for again in found.retrained:
        gap = max(again.largest_difference.values(), default=None)
        same = "identical" if again.is_identical else "no prediction" if gap is None else f"P(yes) within {gap:.2g}"
        console.print(f"retrained {again.trial_id}  {again.state}  {same}", soft_wrap=True)
    for damage in found.damages:
        console.print(f"{damage.part:<9} {damage.name}  {damage.what}", style="red", soft_wrap=True)
    parts = {damage.part for damage in found.damages}
    if not parts:
        console.print("all good")
    if n_moved:
        console.print(f"moved {n_moved} outcomes to quarantine; `sweep run {study}` does their trials again")
    elif Part.OUTCOME in parts:
        what = "moves damaged outcomes away, and `sweep run` does their trials again"
        console.print(f"`sweep verify {study} --quarantine` {what}", soft_wrap=True)
    if Part.INPUT in parts:
        console.print("delete damaged folders below inputs/; `sweep run` makes them again", soft_wrap=True)
    if Part.RETRAINED in parts:
        console.print(
            "what does not come out again was changed, or ran on other hardware or versions: compare its provenance",
            soft_wrap=True,
        )
