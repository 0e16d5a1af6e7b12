"""`sweep status`, `verify`, `explain` and `doctor`: how a study, its store, a trial and this machine are."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from orchestrator.cli.options import (
    STORES,
    Address,
    AsJson,
    InputsFrom,
    SomeTrial,
    StoreRoot,
    StudyFile,
    TrackingUri,
    console_of,
    named,
    need_trials,
    open_study,
    print_json,
    shown,
)
from orchestrator.saying.addressing import local_path, typed
from workers.contract.errors import InputError, Problem
from workers.contract.files import true_path

if TYPE_CHECKING:
    from orchestrator.explain.explanation import Explanation
    from orchestrator.store.verification import Verification

WATCH_S = 10


def status(
    study: StudyFile,
    store: StoreRoot = STORES,
    watch: Annotated[bool, typer.Option("--watch", help=f"again every {WATCH_S} s, until no driver runs")] = False,
    as_json: AsJson = False,
) -> None:
    """Say how far a study is, what failed and what runs now, from its store alone."""
    from orchestrator.explain.files import working_attempts
    from orchestrator.explain.status import status_of
    from orchestrator.launch.record import past_launches
    from orchestrator.launch.run import plan_study
    from orchestrator.launch.screen.console import plan_counts
    from orchestrator.launch.sealing import has_results, standing
    from orchestrator.store.holding import lock_holder
    from orchestrator.store.sealing import read_looks

    console = console_of()
    while True:
        loaded, layout = open_study(study, store)
        _, planned = plan_study(loaded, layout)
        sealed = standing(loaded, layout) if layout.analysis_plan.exists() or has_results(layout) else None
        looks = [look.told(len(loaded.looks)) for look in read_looks(layout)]
        found = status_of(planned, working_attempts(layout), lock_holder(layout), past_launches(layout), sealed, looks)
        if as_json:
            print_json(found.model_dump(mode="json"))
        else:
            if watch and console.is_terminal:
                console.clear()
            console.print("\n".join((plan_counts(planned, layout), *found.lines(named(study, store)))))
        if not watch or found.driver is None:
            return
        time.sleep(WATCH_S)


def prepare(
    study: StudyFile, store: StoreRoot = STORES, inputs_from: InputsFrom = None, as_json: AsJson = False
) -> None:
    """Make every input that the store lacks, and fetch models of the hub: a launch offline then needs nothing else."""
    from orchestrator.design.grid import expand
    from orchestrator.launch.preparing import prepare_study

    loaded, layout = open_study(study, store, look_up=True)
    console = console_of(stderr=as_json)
    with console.status("preparing: cohort, bases, prompts, rationales"):
        n_trials = prepare_study(loaded, expand(loaded), layout, tell=console.print, inputs_from=inputs_from)
    if as_json:
        print_json({"study": loaded.study, "n_trials": n_trials})
        return
    done = f"inputs of {n_trials} trials were made" if n_trials else "all inputs were there"
    console.print(f"{done}; `sweep run {named(study, store)}` needs no connection now")


def verify(
    study: StudyFile,
    store: StoreRoot = STORES,
    retrain: Annotated[int, typer.Option("--retrain", min=0, metavar="N", help="train N trials again, compare")] = 0,
    set_aside: Annotated[
        bool, typer.Option("--quarantine", help="move damaged outcomes away, so that `sweep run` does them again")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check every file of every committed trial and input, and what is derived; compute all scores again."""
    from contextlib import nullcontext
    from dataclasses import asdict

    from orchestrator.explain.leaving import is_bundle
    from orchestrator.saying.terminal import working
    from orchestrator.store.holding import hold_lock
    from orchestrator.store.outcomes import Outcomes, quarantine, read_outcomes
    from orchestrator.store.verification import verify_store

    if is_bundle(study):
        if retrain or set_aside:
            what = "is a bundle: nothing of it can be trained again or moved away"
            raise InputError(Problem(str(study), what, "leave --retrain and --quarantine out"))
        _verify_bundle(study, as_json=as_json)
    loaded, layout = open_study(study, store)
    need_trials(layout, named(study, store))
    n_moved = 0
    # Held from the first look on: what a driver commits meanwhile would be moved for the damage of what it replaced.
    with hold_lock(layout) if set_aside else nullcontext():
        with working(console_of(stderr=True), "reading every file, then scoring again, about 0.1 s a trial") as tell:
            found = verify_store(loaded, layout, n_retrain=retrain, tell=tell)
        if set_aside and found.damaged_trials:
            held = read_outcomes(layout)
            n_moved = quarantine(layout, Outcomes(held.committed, {**held.broken, **found.damaged_trials}))
    if as_json:
        print_json({**asdict(found), "n_quarantined": n_moved, "exit_code": found.exit_code})
    else:
        _show_verification(found, named(study, store), n_moved=n_moved)
    raise typer.Exit(found.exit_code)


def _verify_bundle(folder: Path, *, as_json: bool) -> NoReturn:
    """Say what of a bundle follows from its files, and end."""
    from dataclasses import asdict

    from orchestrator.explain.bundle_check import check_bundle
    from orchestrator.saying.terminal import print_prose, working
    from orchestrator.store.verification import EXIT_DAMAGED, EXIT_GOOD

    with working(console_of(stderr=True), "reading the bundle, and analysing it again"):
        found = check_bundle(true_path(folder))
    exit_code, grade = EXIT_DAMAGED if found.wrong else EXIT_GOOD, found.grade
    if as_json:
        rebuilt = {"rebuilt": () if found.wrong else grade.rebuilt, "not_rebuilt": grade.not_rebuilt}
        print_json({**asdict(found), **rebuilt, "exit_code": exit_code})
    else:
        console = console_of()
        console.print(f"{found.study}: {found.n_files} files checked")
        for line in found.wrong:
            console.print(line, style="red")
        if not found.wrong:
            print_prose(console, found.answer)
            console.print(f"follows from these files: {', '.join(grade.rebuilt)}")
        console.print(f"can't be seen here: {'; '.join(grade.not_rebuilt)}")
    raise typer.Exit(exit_code)


def explain(
    study: StudyFile,
    trial: SomeTrial,
    store: StoreRoot = STORES,
    order: Annotated[
        Path | None,
        typer.Option("--order", metavar="FILE", parser=local_path, help="write what a worker is given for the trial"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a trial is, the state it is in and why, what was tried, and what to do; needs no driver."""
    from orchestrator.cli.views.explanation import show_explanation
    from orchestrator.design.grid import expand
    from orchestrator.execution.recovery import Recovery
    from orchestrator.explain.explanation import explain as explain_trial
    from orchestrator.explain.files import read_trial_files
    from orchestrator.explain.lookup import Known, find_trial
    from orchestrator.store.holding import lock_holder
    from orchestrator.store.orders import write_order
    from orchestrator.store.outcomes import read_attempts, read_outcomes

    loaded, layout = open_study(study, store)
    outcomes, attempts = read_outcomes(layout), read_attempts(layout)
    is_driven = lock_holder(layout) is not None
    known = Known(expand(loaded), outcomes, attempts, named=named(study, store), is_driven=is_driven)
    trial_id = find_trial(trial, known)
    asked = known.items[trial_id].trial
    files = read_trial_files(layout, trial_id, trial=asked, outcome=outcomes.committed.get(trial_id))
    found = explain_trial(trial_id, known, files)
    if order is not None:
        if asked is None:
            raise InputError(Problem("--order", f"the recipe of {trial_id} can't be read", "explain another trial"))
        n_micro_batches = Recovery(attempts).n_micro_batches(trial_id)
        write_order(asked, loaded, layout, n_micro_batches=n_micro_batches, path=order)
    if as_json:
        print_json(found.model_dump(mode="json") | {"by_hand": _by_hand(found, known.named, order)})
    else:
        show_explanation(console_of(), found, by_hand=_by_hand(found, known.named, order))


def _by_hand(found: "Explanation", study: str, written: Path | None) -> str:
    """How a person runs the trial in a process of its own."""
    place = written or found.files.order
    if found.committed:
        return "its outcome stands, which running its order again does not change"
    if place:
        # -P: a folder `workers` where somebody stands is not ours.
        return typed(shown(Path(sys.executable)), "-P", "-m", "workers", "run", shown(Path(place)))
    if found.training_id is None:
        return "its recipe can't be read"
    return f"`sweep explain {study} {found.trial_id[:8]} --order FILE` writes its order, and says how to run that"


def doctor(
    study: Annotated[
        Path | None, typer.Argument(metavar="[STUDY]", parser=local_path, help="a study file (YAML), or a store folder")
    ] = None,
    store: StoreRoot = STORES,
    address: Address = None,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Check whether a launch would work here: versions, machine, GPU, store, cluster, tracking, data."""
    from orchestrator.cli.views.diagnosis import show_diagnosis
    from orchestrator.doctor.diagnosis import diagnose

    loaded, layout = open_study(study, store) if study else (None, None)
    with console_of(stderr=True).status("looking around; a worker's libraries take some seconds to load"):
        found = diagnose(loaded, layout, address=address, tracking_uri=tracking_uri)
    if as_json:
        print_json({**found.model_dump(mode="json"), "exit_code": found.exit_code})
    else:
        show_diagnosis(console_of(), found)
    raise typer.Exit(found.exit_code)


def _show_verification(found: "Verification", study: str, *, n_moved: int) -> None:
    """What was read, what is wrong with it, and what to do."""
    from orchestrator.store.verification import Place

    console = console_of()
    console.print(
        f"{found.n_outcomes} outcomes, {found.n_inputs} inputs: {found.n_files} files, {found.n_bytes / 1e6:,.1f} MB "
        f"checked; {found.n_recomputed} trials scored again from their predictions"
    )
    for again in found.retrained:
        gap = max(again.largest_difference.values(), default=None)
        same = "no prediction" if gap is None else f"P(yes) within {gap:.2g}" if gap else "every P(yes) equal"
        same = "identical" if again.is_identical else same
        console.print(f"retrained {again.trial_id}  {again.state}  {same}")
    for damage in found.damages:
        console.print(f"{damage.part:<9} {damage.name}  {damage.what}", style="red")
    parts = {damage.part for damage in found.damages}
    if not parts:
        console.print("all good")
    if n_moved:
        console.print(f"moved to quarantine: {n_moved}; `sweep run {study}` does their trials again")
    elif Place.OUTCOME in parts:
        what = "moves damaged outcomes away, and `sweep run` does their trials again"
        console.print(f"`sweep verify {study} --quarantine` {what}")
    if Place.INPUT in parts:
        console.print("delete damaged folders below inputs/; `sweep run` makes them again")
    if Place.TRANSFER in parts:
        console.print("delete damaged folders below transfers/; `sweep score` makes them again")
    if Place.DERIVED in parts:
        console.print(f"`sweep run {study}` writes dataset, report and sealed study again; `sweep audit` its own")
    if Place.PLAN in parts:
        console.print("restore the analysis plan and its unblinding from a copy: nothing can write them again")
    if Place.RETRAINED in parts:
        console.print(
            "what does not come out again was changed, or ran on other hardware or versions: compare its provenance"
        )
