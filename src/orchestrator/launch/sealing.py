"""When the analysis plan of a study is sealed, looks are taken, and the scores on held_out are opened to people."""

from collections.abc import Callable

from orchestrator.analysis.checks.rules import RULES
from orchestrator.design.analysis_plan import LOOKS, plan_of, written
from orchestrator.design.grid import Design
from orchestrator.design.looks import Phase
from orchestrator.design.plan import Plan
from orchestrator.store.dataset.aggregate import aggregate
from orchestrator.store.holding import hold_lock
from orchestrator.store.outcomes import committed_ids, read_attempts, read_unblinded
from orchestrator.store.sealing import (
    Opening,
    Standing,
    ended_at,
    open_scores,
    read_looks,
    read_plan,
    record_look,
    seal_plan,
    standing_of,
)
from orchestrator.study.study import Study
from workers.contract.errors import InputError, Problem
from workers.contract.layout import StoreLayout
from workers.contract.outcome import TrialState

Tell = Callable[[str], object]


def standing(study: Study, layout: StoreLayout) -> Standing:
    """How a study stands to the plan that its store has sealed.

    Raises:
        StoreError: The plan, or the record of its opening, is damaged.
    """
    return standing_of(study, layout, RULES)


def has_results(layout: StoreLayout) -> bool:
    """Whether a store holds results, or held some: no plan can be sealed any more."""
    return bool(committed_ids(layout)) or layout.quarantine.is_dir() or layout.purges.is_dir()


def seal(study: Study, design: Design, layout: StoreLayout) -> Standing:
    """Seal the plan unless the store holds one, or results that came before; open what the study declares open.

    For the holder of the driver's lock, once the inputs are there: what had to be mended to run at all is no deviation.

    Raises:
        StoreError: The plan can't be written, or the one that is there is damaged.
    """
    found = standing(study, layout)
    is_first = found.sealed_at is None and not has_results(layout)
    if not study.blind and (is_first or found.is_blinded):  # before the plan: a store is never blinded in between
        open_scores(layout, Opening.DECLARED, n_done=_n_done(design, layout), n_trials=len(design.everything))
    if is_first:
        seal_plan(layout, plan_of(study, RULES))
    return standing(study, layout)


def refuse_other_looks(study: Study, layout: StoreLayout) -> None:
    """See that looks were declared before there was anything to look at; to take all of them out is a deviation.

    Raises:
        InputError: The store has sealed others, or holds outcomes without a plan.
        StoreError: The plan is damaged.
    """
    sealed, today = read_plan(layout), written(study.looks)
    if not study.looks or (sealed is None and not committed_ids(layout)):
        return
    before = sealed.plan.parts.get(LOOKS, written(())) if sealed else written(())
    if before != today:
        what = f"are {today}, and were {before} when the first trial ran: a look that is declared later errs too often"
        raise InputError(Problem("looks", what, f"write `looks: {before}`, or give another --store"))


def goes_on_after(phase: Phase, study: Study, design: Design, layout: StoreLayout, *, tell: Tell) -> bool:
    """Whether the trials after a phase may run: all of it was tried, and the look at its end did not end the study.

    A look is taken once; whoever dies before it is written down takes the same one again.

    Raises:
        StoreError: It can't be written, or what it reads is damaged.
    """
    if phase.share is None:
        return True
    from orchestrator.analysis.checks.look import take_look
    from orchestrator.analysis.results import load_results

    past = read_looks(layout)
    found = next((look for look in past if look.number == phase.number), None)
    if found is None:
        held, attempts = read_unblinded(layout, phase.trial_ids), read_attempts(layout)
        tried = attempts.keys() - held.broken.keys()  # what was damaged meanwhile runs again
        if n_due := len(phase.trial_ids - held.committed.keys() - tried):
            tell(f"look {phase.number} waits for {n_due} trials; what comes after it waits for the look")
            return False
        results = load_results(layout, design, outcomes=held.committed, attempts=attempts)
        found = take_look(study, design, results, phase=phase, past=[one for one in past if one.number < phase.number])
        found = record_look(layout, found)
        tell(found.told(len(study.looks)))
    return found.decision == "go_on"


def open_where_complete(plan: Plan, layout: StoreLayout) -> bool:
    """Open the scores of a blinded store once every trial has an outcome, or the study ended at a look; whether it did.

    A diverged trial has one. A trial that failed, for good or not, keeps them closed: somebody has to ask.

    Raises:
        StoreError: The opening can't be recorded.
    """
    has_ended = ended_at(layout) is not None
    if (plan.todo and not has_ended) or not layout.is_blinded:
        return False
    n_trials = len(plan.trials) + len(plan.controls)
    why = Opening.LOOK if has_ended else Opening.COMPLETE
    open_scores(layout, why, n_done=plan.counts[TrialState.KEEP], n_trials=n_trials)
    return True


def open_early(study: Study, design: Design, layout: StoreLayout, *, tell: Callable[[str], object]) -> Standing:
    """Open the scores of a store because somebody asks, and write the dataset with them.

    Raises:
        LockedError: A driver works on the store: who watches it must not see scores half-way.
        StoreError: The opening can't be recorded, the plan is damaged, or the dataset can't be written.
    """
    with hold_lock(layout, tell=tell):
        if standing(study, layout).is_blinded:
            open_scores(layout, Opening.ASKED, n_done=_n_done(design, layout), n_trials=len(design.everything))
        aggregate(layout, design)
        return standing(study, layout)


def _n_done(design: Design, layout: StoreLayout) -> int:
    return len(design.by_id.keys() & set(committed_ids(layout)))
