"""The claims that launches rely on, held by the executor that tests run launches on."""

from pathlib import Path

import pytest

from support.executors.claims import CLAIMS, Claim
from support.executors.in_process import Inline, InProcess
from support.studies.orders import order_of
from support.studies.played_trials import Play, publish_inputs, trials
from workers.attempt.runner import Runner
from workers.contract.layout import StoreLayout
from workers.contract.system.durable import replace_file


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_the_executor_in_this_process_holds_what_launches_rely_on(claim: Claim, tmp_path: Path) -> None:
    layout = StoreLayout(tmp_path)
    publish_inputs(layout)
    layout.orders.mkdir()
    for trial in trials():
        order = order_of(trial.spec, layout.root).model_copy(update={"trial": trial})
        replace_file(layout.order(trial.trial_id), order.model_dump_json())
    runner = Runner(carry_out=Play().carry_out)
    pool = InProcess(lambda order: Inline(order, runner), n_slots=1)
    claim(pool, layout, [trial.trial_id for trial in trials()])
