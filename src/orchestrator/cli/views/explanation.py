"""How `sweep explain` looks on a terminal."""

from typing import TYPE_CHECKING

from orchestrator.analysis.wording import duration, number
from orchestrator.launch.screen.console import STATE_STYLES

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.explain.explanation import Committed, Explanation
    from workers.contract.outcome import Attempt


def show_explanation(console: "Console", found: "Explanation", *, by_hand: str) -> None:
    """What the trial is, its state and why, what was tried, the end of its log, what to do."""

    def say(text: str, style: str = "") -> None:
        console.print(text, style=style)

    say(f"trial    {found.trial_id}  {found.name}")
    if found.training_id:
        say(f"ids      training {found.training_id}, cell {found.cell_id}, {found.role}", "dim")
    first, *others = found.why
    say(f"{found.state:<8} {first}", STATE_STYLES[found.state])
    for line in others:
        say(f"         {line}")
    for change in found.changes:
        say(f"changed  {change.field}: {change.stored} in the store, {change.designed} in the design")
    for attempt in found.attempts:
        _show_attempt(console, attempt)
    for launch in found.files.launches:
        for entry in launch.entries:
            say(f"launch   {launch.number}, {entry.at}: {entry}", "dim")
    if found.committed:
        _show_committed(console, found.committed)
    for loser in found.files.superseded:
        same = "with the same files" if loser.is_same else "with other files"
        say(f"too late attempt {loser.attempt} on {loser.host} ended {loser.state} at {loser.ended_at}, {same}")
    for evidence in found.files.quarantined:
        say(f"evidence {evidence.path}: {evidence.why}")
    for line in found.advice:
        say(f"next     {line}")
    say(f"by hand  {by_hand}")
    if found.files.log is None:
        say("log      no log")
        return
    say(f"log      {found.files.log.path}")
    for line in found.files.log.lines:
        say(f"         {line}", "dim")


def _show_attempt(console: "Console", attempt: "Attempt") -> None:
    kind = attempt.kind.replace("_", " ")
    parts = f", batches in {attempt.n_micro_batches} parts" if attempt.n_micro_batches > 1 else ""
    name = f" {attempt.attempt}" if attempt.attempt else ""
    lines = [
        f"failed   attempt {attempt.number}{name}: {kind}: {attempt.error} at {attempt.where}{parts}",
        f"         on {attempt.host}, {attempt.started_at} to {attempt.ended_at}",
        *(f"         {line}" for line in attempt.detail.splitlines()),
    ]
    console.print("\n".join(lines))


def _show_committed(console: "Console", committed: "Committed") -> None:
    cost, where = committed.cost, committed.provenance
    invalid = "" if committed.invalid_rate is None else f", invalid {100 * committed.invalid_rate:.0f} %"
    is_open = committed.held_out_auc is not None
    auc, split = (committed.held_out_auc, "held out") if is_open else (committed.tuning_auc, "tuning")
    score = f"AUC {number(auc)} ({split}, strict){invalid}" if committed.outcome == "scored" else ""
    lines = [f"{committed.outcome:<8} {score or committed.detail}"]
    steps = f", {cost.n_steps} steps" if cost.n_steps else ""
    resumed = f", gone on with after step {cost.resumed_from_step}" if cost.resumed_from_step else ""
    on_gpu = f", {cost.peak_gpu_memory_mib:.0f} MiB on the GPU" if cost.peak_gpu_memory_mib else ""
    parts = f", batches in {cost.n_micro_batches} parts" if cost.n_micro_batches > 1 else ""
    lines.append(
        f"cost     {duration(cost.wall_s)}, {cost.cpu_s:.0f} CPU s, {cost.peak_memory_mib:.0f} MiB"
        f"{on_gpu}{steps}{resumed}{parts}"
    )
    if cost.n_checkpoints_skipped or cost.n_checkpoints_failed:
        lines.append(
            f"         {cost.n_checkpoints_skipped} damaged resume points passed over, "
            f"{cost.n_checkpoints_failed} could not be written"
        )
    lines.append(
        f"ran      attempt {committed.attempt} on {where.host} ({where.device}, {where.n_threads} threads), "
        f"{where.started_at} to {where.ended_at}"
    )
    packages = " ".join(f"{name} {version}" for name, version in sorted(where.packages.items()))
    lines.append(f"with     commit {where.commit[:12]}, Python {where.python}, {packages}")
    console.print("\n".join(lines))
