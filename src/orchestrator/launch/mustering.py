"""The look at every node before a launch: what is not as where the driver runs is told with its host, and refused."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from orchestrator.execution.executor import Pool
from orchestrator.study.files import sources_of
from orchestrator.study.study import Study
from workers.contract.answers.roll_call import Present, RollCall, Software
from workers.contract.errors import InputError, Problem
from workers.contract.layout import StoreLayout
from workers.contract.system.durable import temporary_prefix
from workers.contract.system.removal import try_to_remove
from workers.contract.system.sources import size_of_place

MIXED = "install the same there, or give --allow-mixed: cells whose trials differ in it are then not compared"
AGAIN = "then launch again"


@contextmanager
def mustered(pool: Pool, study: Study, layout: StoreLayout, *, allows_mixed: bool) -> Iterator[tuple[Present, ...]]:
    """Every node's answer, none of which is unfit; workers of the pool answer the same call while the block runs.

    Raises:
        InputError: Nodes are unfit; with every cause and host, nothing has started.
    """
    with roll_call(study, layout, allows_mixed=allows_mixed) as call:
        present = pool.muster(call)
        if problems := problems_of(call, present):
            raise InputError(*problems)
        yield present


@contextmanager
def roll_call(study: Study, layout: StoreLayout | None, *, allows_mixed: bool = False) -> Iterator[RollCall]:
    """What to ask the nodes for a study; the driver's file lies in the store, if there is one, while the block runs."""
    sizes = {path: size_of_place(Path(path)) for path in sources_of(study).values()}
    place = layout.scratch / f"{temporary_prefix()}{uuid4().hex}" if layout else None
    call = RollCall(
        place=str(place or ""),
        nonce=uuid4().hex,
        sources=sizes,
        software=Software.here(),
        allows_mixed=allows_mixed,
    )
    if layout is None or place is None:
        yield call
        return
    place.mkdir(parents=True)
    try:
        call.file.write_text(call.nonce)
        yield call
    finally:
        try_to_remove(place, within=layout.root)
        with suppress(OSError):
            layout.scratch.rmdir()


def problems_of(call: RollCall, present: Sequence[Present]) -> list[Problem]:
    """What is wrong with each node, its host first."""
    problems = []
    for node in present:
        where = f"node {node.host}"
        for fault in node.faults:
            what, _, remedy = fault.partition(": ")
            problems.append(Problem(where, what, f"{remedy}, {AGAIN}"))
        if call.place and not node.faults and not Path(call.place, node.answer).is_file():
            what = "what it writes to the store is not seen here"
            problems.append(Problem(where, what, f"mount the same folder there and here, {AGAIN}"))
        if not call.allows_mixed and node.software.packages and (others := call.software.differences(node.software)):
            problems.append(Problem(where, f"it has {', '.join(others)}", MIXED))
    return problems
