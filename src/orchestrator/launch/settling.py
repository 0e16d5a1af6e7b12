"""What follows from the store at the end of a launch (MLflow, dataset, page), and whether it is there already."""

from dataclasses import dataclass

from orchestrator.design.plan import Plan, make_plan
from orchestrator.launch.launch import Launch
from orchestrator.launch.sealing import open_where_complete, standing
from orchestrator.launch.trials.launching import Ran
from orchestrator.saying.terminal import working
from orchestrator.store.collecting import collect
from orchestrator.store.dataset.aggregate import aggregate
from orchestrator.store.derived import derived_damages
from orchestrator.store.outcomes import Outcomes, Seals, Snapshot, read_store
from orchestrator.tracking.study_page import StudyProgress
from workers.contract.outcome import TrialState
from workers.contract.recipes.recipe import digest_of
from workers.contract.system.durable import replace_file
from workers.contract.system.sources import sha256_of


@dataclass(frozen=True)
class Settled:
    """What was left to do when report, dataset and tracking had been derived, and what the study answers so far."""

    plan: Plan
    answer: str


def settled_answer(launch: Launch, held: Snapshot[Seals]) -> str | None:
    """The answer, where report, dataset and tracking were derived from this very study and these very outcomes and are
    whole; else null."""
    try:
        fingerprint, _, answer = launch.layout.settled.read_text().partition("\n")
        is_settled = fingerprint == _fingerprint(launch, held, answer) and not derived_damages(launch.layout)
        return answer if is_settled else None
    except (OSError, UnicodeDecodeError):
        return None


def _fingerprint(launch: Launch, held: Snapshot[Seals] | Snapshot[Outcomes], answer: str) -> str:
    """Raises OSError where a derived file is missing; one that has changed shows by its checksum."""
    layout = launch.layout
    checksums = {trial_id: outcome.checksum for trial_id, outcome in held.outcomes.committed.items()}
    derived = [
        layout.study,
        layout.report,
        layout.tripod,
        layout.dataset_seal,
        *sorted(layout.dataset.rglob("*.parquet")),
    ]
    digests = {str(path.relative_to(layout.root)): sha256_of(path) for path in derived}
    study = launch.study.model_dump(mode="json")
    return digest_of({"study": study, "outcomes": checksums, "derived": digests, "answer": answer})


def settle(launch: Launch, ran: Ran) -> Settled:
    """Derive from the store everything that follows from it: MLflow, the dataset, the report."""
    study, design, layout, tracking = launch.study, launch.design, launch.layout, launch.tracking
    held = read_store(layout)
    after = make_plan(design, held.outcomes, held.attempts, study=study.study)
    if open_where_complete(after, layout):
        launch.console.print(f"{why_ended(after, ran)}: the scores on held-out are open now")
        held = read_store(layout)
    outcomes = held.outcomes
    collect(layout, design, outcomes)
    tracking.open_study(study.study, question=study.question, plan=standing(study, layout), design=design)
    with working(launch.console, "bringing MLflow up to date") as tell:
        tracking.reconcile(design, outcomes, held.attempts, tell=tell)
    if tracking.n_mended:
        launch.console.print(f"tracking held other numbers than the store in {tracking.n_mended} runs: mended")
    try:
        for trial_id, reason in aggregate(layout, design, outcomes=outcomes).items():
            launch.console.print(f"left out of the dataset: {trial_id}: {reason}")
        tracking.progress(progress_of(after), is_last=True)
        with working(launch.console, "analysing"):
            answer = launch.write_report(study, design, layout, held)
        tracking.answer(answer)
    finally:
        tracking.close(complete=not after.todo, why=why_ended(after, ran))
    if not tracking.failures.count:
        replace_file(layout.settled, f"{_fingerprint(launch, held, answer.text)}\n{answer.text}")
    return Settled(after, answer.text)


def progress_of(plan: Plan) -> StudyProgress:
    """How far a study is that nothing runs of."""
    n_failed = plan.counts[TrialState.RETRY]
    n_waiting, hours_left = len(plan.todo) - n_failed, None if plan.todo else 0.0
    return StudyProgress(plan.counts[TrialState.KEEP], n_failed, n_waiting=n_waiting, hours_left=hours_left)


def count_failed(after: Plan, ran: Ran) -> int:
    """The outcome of a worker that was taken for lost may have come in after all."""
    return len(ran.failed & {planned.trial.trial_id for planned in after.todo})


def why_ended(after: Plan, ran: Ran) -> str:
    """Why a launch ended, for its record and for MLflow."""
    if ran.lost is not None or ran.ended_because:
        return ran.ended_because or str(ran.lost)
    n_failed = count_failed(after, ran)
    left = f"{n_failed} trials failed, {len(after.todo) - n_failed} were not run"
    n_spared = after.counts[TrialState.SPARED]
    done = f"the study ended at a look, {n_spared} trials are spared" if n_spared else "every trial has an outcome"
    return left if after.todo else done
