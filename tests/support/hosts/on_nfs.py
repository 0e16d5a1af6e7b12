"""What clients of NFS run in their guests: the product's hold on a store and its commits, without Ray.

`drive STORE MADE END`: hold the store and commit one made outcome a second, until the file END is there.
`race STORE MADE GO N`: commit each of the first six from N processes at once, when the files GO-0, GO-1… are there.
`launch STORE STUDY`: a whole launch, whose trials the driver runs itself, for Ray gives up at a guest's speed.
`count STORE…`: what is there. Each line begins with the seconds since the last import; errors end it as they end
the command line.
"""

import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.store.holding import hold_lock, lock_holder
from workers.contract.errors import SweepError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.system.durable import file_digests
from workers.store.commit import commit_outcome, files_of

BEGAN = time.monotonic()
N_RACED = 6


def say(line: str) -> None:
    sys.stdout.write(f"{time.monotonic() - BEGAN:.1f} {line}\n")
    sys.stdout.flush()


def made_outcomes(folder: Path) -> list[Outcome]:
    return [Outcome.model_validate_json(path.read_bytes()) for path in sorted(folder.glob("*.json"))]


def attempted(made: Outcome, layout: StoreLayout) -> tuple[Outcome, Path]:
    """An attempt of this process, as far as its commit."""
    me = f"{socket.gethostname()}-{os.getpid()}"
    outcome = made.model_copy(update={"attempt": me})
    folder = layout.trial(outcome.trial_id) / me
    folder.mkdir(parents=True)
    for name in files_of(outcome):
        (folder / name).write_text(f"{name} by {me}")
    return outcome, folder


def commit(outcome: Outcome, layout: StoreLayout, folder: Path) -> None:
    say(f"{'committed' if commit_outcome(outcome, layout, folder) else 'late'} {outcome.trial_id}")


def drive(store: str, made: str, end: str) -> None:
    layout, left = StoreLayout(Path(store)), made_outcomes(Path(made))
    left = [outcome for outcome in left if not layout.outcome(outcome.trial_id).exists()]
    say(f"sees {lock_holder(layout)}")
    with hold_lock(layout, tell=say) as hold:
        say(f"holds {hold.number}")
        while not Path(end).exists():
            hold.check()
            if left:
                outcome, folder = attempted(left.pop(), layout)
                commit(outcome, layout, folder)
            time.sleep(1)
    say("ended")


def race(store: str, made: str, go: str, n: str) -> None:
    layout, outcomes = StoreLayout(Path(store)), made_outcomes(Path(made))

    def run() -> None:
        for number, made_one in enumerate(outcomes[:N_RACED]):
            outcome, folder = attempted(made_one, layout)
            say(f"ready {number}")
            while not Path(f"{go}-{number}").exists():
                time.sleep(0.2)
            commit(outcome, layout, folder)

    racers = [multiprocessing.get_context("fork").Process(target=run) for _ in range(int(n))]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    say(f"failed {sum(racer.exitcode != 0 for racer in racers)}")


def launch(store: str, study: str) -> None:
    from rich.console import Console

    from orchestrator.design.grid import expand
    from orchestrator.launch.launch import Launch
    from orchestrator.launch.run import run_study
    from orchestrator.study.study import load_study
    from orchestrator.tracking.tracking import Tracking
    from support.executors.in_process import InProcess

    told, layout = load_study(Path(study)), StoreLayout(Path(store) / "micro")
    layout.root.mkdir(mode=0o700, exist_ok=True)
    console = Console(file=sys.stdout, width=200)
    ran = run_study(Launch(told, expand(told), layout, InProcess(n_slots=1), Tracking(layout), console))
    say(f"ended {ran.exit_code}, {ran.n_kept} kept, {ran.n_done} done, {ran.tracking_failures} not tracked")


def count(*stores: str) -> None:
    """Of each committed trial: whether all is there that its outcome names, how many names, how many came late."""
    for store in stores:
        layout = StoreLayout(Path(store))
        for path in layout.trials.glob("*/outcome.json"):
            outcome, trial_id = Outcome.load(path), path.parent.name
            is_whole = file_digests(path.parent / outcome.attempt) == outcome.files
            names, late = list(path.parent.iterdir()), list(layout.superseded(trial_id).glob("*.json"))
            say(json.dumps([store, trial_id, is_whole, len(names), len(late)]))


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {"drive": drive, "race": race, "launch": launch, "count": count}
    try:
        commands[sys.argv[1]](*sys.argv[2:])
    except SweepError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
