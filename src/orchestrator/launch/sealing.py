"""When the analysis plan of a study is sealed, and when the scores on held_out are opened to people."""

from collections.abc import Callable

from orchestrator.analysis.checks.rules import RULES
from orchestrator.design.analysis_plan import plan_of
from orchestrator.design.grid import Design
from orchestrator.design.plan import Plan
from orchestrator.store.dataset.aggregate import aggregate
from orchestrator.store.holding import hold_lock
from orchestrator.store.outcomes import committed_ids
from orchestrator.store.sealing import Opening, Standing, open_scores, seal_plan, standing_of
from orchestrator.study.study import Study
from workers.contract.layout import StoreLayout


def standing(study: Study, layout: StoreLayout) -> Standing:
    """How a study stands to the plan that its store has sealed.

    Raises:
        StoreError: The plan, or the record of its opening, is damaged.
    """
    return standing_of(study, layout, RULES)


def seal(study: Study, design: Design, layout: StoreLayout) -> Standing:
    """Seal the plan unless the store holds one, or results that came before; open what the study declares open.

    For the holder of the driver's lock, once the inputs are there: what had to be mended to run at all is no deviation.

    Raises:
        StoreError: The plan can't be written, or the one that is there is damaged.
    """
    found = standing(study, layout)
    has_results = committed_ids(layout) or layout.quarantine.is_dir() or layout.purges.is_dir()
    is_first = found.sealed_at is None and not has_results
    if not study.blind and (is_first or found.is_blinded):  # before the plan: a store is never blinded in between
        open_scores(layout, Opening.DECLARED, n_done=_n_done(design, layout), n_trials=len(design.everything))
    if is_first:
        seal_plan(layout, plan_of(study, RULES))
    return standing(study, layout)


def open_where_complete(plan: Plan, layout: StoreLayout) -> bool:
    """Open the scores of a blinded store once every trial of the design has an outcome; whether this did.

    A diverged trial has one. A trial that failed, for good or not, keeps them closed: somebody has to ask.

    Raises:
        StoreError: The opening can't be recorded.
    """
    if plan.todo or not layout.is_blinded:
        return False
    n_trials = len(plan.trials) + len(plan.controls)
    open_scores(layout, Opening.COMPLETE, n_done=n_trials, n_trials=n_trials)
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
