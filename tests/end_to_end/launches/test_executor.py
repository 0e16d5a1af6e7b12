"""The claims that launches rely on, held by Ray Tune with real trials."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.execution.events import StopLevel
from orchestrator.execution.executor import Pool
from orchestrator.execution.on_ray.connection.watching import say_error
from orchestrator.execution.on_ray.executor import RayTune
from orchestrator.study.resources import Resources
from support.executors.claims import CLAIMS, Claim
from support.studies.orders import micro_spec, micro_training, order_of
from workers.contract.layout import StoreLayout
from workers.contract.system.durable import replace_file

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.timeout(420)]

SPECS = [micro_spec(training=micro_training(seed=seed)) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """With one slot: all CPUs of this machine."""
    all_of_them = Resources(cpus_per_trial=os.cpu_count() or 1)
    executor = RayTune(None, tell=print)
    bases = dict.fromkeys(spec.trial_id for spec in SPECS)
    with executor.open(all_of_them, bases, stop_level=lambda: StopLevel.GO_ON, last_words=say_error) as opened:
        yield opened


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_ray_tune_holds_what_launches_rely_on(claim: Claim, pool: Pool, store: Path) -> None:
    layout = StoreLayout(store)
    layout.orders.mkdir()
    for spec in SPECS:
        replace_file(layout.order(spec.trial_id), order_of(spec, store).model_dump_json())
    claim(pool, layout, [spec.trial_id for spec in SPECS])


@pytest.mark.usefixtures("pool")
def test_a_ray_of_our_own_listens_to_this_machine_alone() -> None:
    ours = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    listening = [one for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.pid in ours]
    heard = {one.laddr.ip.removeprefix("::ffff:") for one in listening if one.laddr}
    assert heard == {"127.0.0.1"}
