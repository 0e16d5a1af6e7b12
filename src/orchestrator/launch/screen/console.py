"""What the terminal shows: the plan, and a launch as it runs; live on a terminal, else one line a state change."""

import time
from collections.abc import Callable, Iterator
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from orchestrator.analysis.wording import duration
from orchestrator.design.naming import name_of
from orchestrator.design.plan import Plan
from orchestrator.execution.events import Ended, Event, Progressed, Requeued, SlotsChanged, Started
from orchestrator.launch.screen.board import Board, Finished
from orchestrator.saying.addressing import typed
from orchestrator.saying.terminal import painted, print_prose
from orchestrator.store.purging import last_purge
from workers.contract.answers.ending import Ending
from workers.contract.inputs import is_prepared, wanted_rationales
from workers.contract.layout import StoreLayout
from workers.contract.outcome import TrialState
from workers.contract.recipes.scorings import Scoring
from workers.contract.system.visible import visible_line

STATE_STYLES = {
    TrialState.KEEP: "green",
    TrialState.RETRY: "yellow",
    TrialState.ADD: "cyan",
    TrialState.STALE: "magenta",
    TrialState.ORPHAN: "dim",
    TrialState.SPARED: "dim",
}
REFRESHES_PER_SECOND, BAR_WIDTH = 2, 20


def show_plan(console: Console, plan: Plan, layout: StoreLayout) -> None:
    """Every trial with ids, coordinates and state; then the counts.

    Lines are written as they are: a table of 50,000 rows took longer to lay out than the plan to make.
    """
    paints = {state: painted(console, style) for state, style in STATE_STYLES.items()}
    dim = painted(console, "dim")

    def line(trial_id: str, cell_id: str, state: TrialState, name: str, why: str) -> str:
        what = f"{visible_line(name)}  {dim(visible_line(why))}".strip() if why else visible_line(name)
        return f"{trial_id[:12]:<12}  {cell_id[:8]:<8}  {paints[state](f'{state.value:<6}')}  {what}\n"

    lines = [painted(console, "bold")(f"{'trial':<12}  {'cell':<8}  {'state':<6}  what") + "\n"]
    for planned in plan.trials + plan.controls:
        trial, why = planned.trial, planned.reason if planned.state is TrialState.RETRY else ""
        lines.append(line(trial.trial_id, trial.cell_id, planned.state, name_of(trial), why))
    for item in plan.left_over:
        lines.append(line(item.trial_id, "", item.state, name_of(item.trial) if item.trial else "", item.reason))
    console.file.write("".join(lines))
    console.print(plan_counts(plan, layout))


def plan_counts(plan: Plan, layout: StoreLayout) -> str:
    """One line: how many trials, in how many cells, in which states; another where their data were purged."""
    cells = len({planned.trial.cell_id for planned in plan.trials})
    states = " · ".join(f"{number} {state}" for state, number in plan.counts.items() if number)
    specs = (planned.trial.spec for planned in plan.trials + plan.controls)
    # Trials of one base, prompt and teacher share their inputs, and one design's trials these very objects.
    distinct = {
        (id(spec.cohort), id(spec.base), id(spec.prompt), id(spec.teacher), wanted_rationales(spec)): spec
        for spec in specs
    }
    is_ready = all(is_prepared(spec, layout) for spec in distinct.values())
    purge = None if is_ready else last_purge(layout)
    return (
        f"{plan.study}: {len(plan.trials)} trials in {cells} matched cells, {len(plan.controls)} controls; "
        f"{states}; inputs {'prepared' if is_ready else 'not prepared yet'}" + (f"\n{purge}" if purge else "")
    )


def watch(console: Console, board: Board) -> "Watch":
    """A live screen on a terminal, else one line a state change."""
    return Screen(console, board) if console.is_terminal else Lines(console, board)


class Lines:
    """One line for each trial that starts or ends, for logs and pipes."""

    def __init__(self, console: Console, board: Board) -> None:
        self._console = console
        self._board = board

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._console.print(summary_line(self._board))

    def see(self, event: Event) -> None:
        """Print what started or ended."""
        if line := line_after(event, self._board):
            self._console.print(line)
        if isinstance(event, Started):
            name = name_of(self._board.queue[event.trial_id])
            self._console.print(f"[{self._board.n_ended}/{self._board.n_total}] running  {name}")


class Screen(Progress):
    """Running trials with their progress, counts, invalid rates and time left, redrawn in place."""

    def __init__(self, console: Console, board: Board, clock: Callable[[], float] = time.monotonic) -> None:
        self._board = board
        self._rows: dict[str, TaskID] = {}
        super().__init__(
            TextColumn("{task.description}", markup=False, table_column=Column()),  # a long name is wrapped, not cut
            TextColumn("{task.fields[phase]}", style="cyan"),
            BarColumn(BAR_WIDTH),
            TextColumn("{task.fields[loss]}", style="dim"),
            Spent(),
            console=console,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
            get_time=clock,
        )

    def __exit__(self, *_: object) -> None:
        self.stop()
        print_prose(self.console, summary_line(self._board))

    def see(self, event: Event) -> None:
        """Move on; what ended scrolls away above the screen."""
        line = line_after(event, self._board)
        match event:
            case Started(trial_id):
                name = name_of(self._board.queue[trial_id])
                self._rows[trial_id] = self.add_task(name, total=None, phase="starting", loss="")
            case Progressed(trial_id, at) if trial_id in self._rows:
                loss = "" if at.loss is None else f"loss {at.loss:.3f}"
                self.update(self._rows[trial_id], total=at.total, completed=at.done, phase=at.phase, loss=loss)
            case Requeued(ending) | Ended(ending) if ending.trial_id in self._rows:
                self.remove_task(self._rows.pop(ending.trial_id))
        if line:
            print_prose(self.console, line)

    def get_renderables(self) -> Iterator[RenderableType]:
        """The line of the whole launch, and the rows below it: what is too much for a low screen goes there."""
        board = self._board
        total = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=board.n_total, completed=board.n_done, width=BAR_WIDTH)
        total.add_row(bar, Text(summary_line(board)))
        yield from (total, self.make_tasks_table(self.tasks))


# Who is shown a launch.
Watch = Lines | Screen


class Spent(ProgressColumn):
    """How long a trial has been on its slot."""

    def render(self, task: Task) -> Text:
        """As `12.3 s` or `2.1 min`."""
        return Text(duration(task.elapsed or 0.0), "dim")


def line_after(event: Event, board: Board) -> Text | None:
    """Move the board on; what is told of an attempt that ended with it."""
    finished = board.apply(event)
    if isinstance(event, Requeued):
        return requeued_line(event, board)
    if isinstance(event, SlotsChanged):
        return slots_line(event, board)
    return ended_line(finished, board) if finished else None


def requeued_line(event: Requeued, board: Board) -> Text:
    """What failed and is tried again, and what changes."""
    line = Text(f"[{board.n_ended}/{board.n_total}] ").append("requeued ", "yellow")
    name = name_of(board.queue[event.ending.trial_id])
    return line.append(f"{name}  ").append(f"{event.why} · {event.ending.detail}", "dim")


def slots_line(event: SlotsChanged, board: Board) -> Text:
    """Which nodes came or went, and how one that was lost comes back."""
    line = Text(f"[{board.n_ended}/{board.n_total}] ").append(f"{event.n_slots} slots  ", "yellow")
    facts = [f"{', '.join(event.joined)} joined"] if event.joined else []
    if event.lost:
        back = typed("ray", "start", f"--address={event.head}")
        facts.append(f"{', '.join(event.lost)} was lost; `{back}` there brings it back")
    return line.append(" · ".join(facts), "dim")


def ended_line(finished: Finished, board: Board) -> Text:
    """How one trial ended."""
    ending = finished.ending
    style = {"scored": "green", "diverged": "yellow", "failed": "red"}[ending.state]
    left = board.seconds_left()
    facts = [
        *scores_shown(ending),
        str(ending.failure or ""),
        ending.detail,
        duration(finished.wall_s),
        f"about {duration(left)} left" if left else "",
    ]
    line = Text(f"[{board.n_ended}/{board.n_total}] ").append(f"{ending.state:<8} ", style)
    return line.append(f"{name_of(finished.trial)}  ").append(" · ".join(filter(None, facts)), "dim")


def scores_shown(ending: Ending) -> list[str]:
    """Strict scores on held_out, or those on tuning, which are named so."""
    if ending.shown is None:
        return []
    split, scores = ending.shown
    auc = scores.metrics[Scoring.STRICT].roc_auc
    of = "tuning " if split == "tuning" else ""
    return [*([] if auc is None else [f"{of}AUC {auc:.3f}"]), f"invalid {scores.invalid_rate:.0%}"]


def summary_line(board: Board) -> str:
    """Counts, failures, invalid outputs by supervision and time left."""
    parts = [f"{board.n_done}/{board.n_total} done", f"{len(board.running)} running", f"{board.n_failed} failed"]
    if rates := board.invalid_rates():
        parts.append("invalid " + ", ".join(f"{kind} {rate:.0%}" for kind, rate in rates.items()))
    left = board.seconds_left()
    if board.n_ended < board.n_total:
        parts.append("time left unknown yet" if left is None else f"about {duration(left)} left")
    return " · ".join(parts)
