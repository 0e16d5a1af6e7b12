"""Slots are counted while a launch runs: nodes that join are used, nodes that leave are told of."""

import pytest

from orchestrator.execution.events import SlotsChanged
from orchestrator.execution.on_ray.executor import WaitFor
from orchestrator.execution.on_ray.roster import LOOK_EVERY_S, Roster, n_fitting, n_trials
from workers.contract.errors import InputError


class Head:
    """A cluster that a test changes, and its clock."""

    def __init__(self, **room: int) -> None:
        self.room = room
        self.now_s = 0.0
        self.is_silent = False

    def look(self) -> dict[str, tuple[str, int]]:
        if self.is_silent:
            raise RuntimeError
        return {f"id-{host}": (host, n) for host, n in self.room.items()}

    def roster(self) -> Roster:
        return Roster(self.look, head="h:1", clock=lambda: self.now_s)


def test_what_is_there_from_the_beginning_is_no_news() -> None:
    roster = Head(a=2, b=1).roster()
    assert roster.n_slots == 3
    assert roster.news() is None


def test_a_node_that_joins_counts_at_the_next_look_and_is_told_of_once() -> None:
    head = Head(a=2)
    roster = head.roster()
    head.room["b"] = 1
    assert roster.n_slots == 2
    head.now_s = LOOK_EVERY_S
    assert roster.news() == SlotsChanged(3, "h:1", joined=("b",))
    assert roster.news() is None


def test_a_node_that_was_lost_is_told_of_with_the_address_to_join_again() -> None:
    head = Head(a=2, b=1)
    roster = head.roster()
    del head.room["a"]
    head.now_s = LOOK_EVERY_S
    assert roster.news() == SlotsChanged(1, "h:1", lost=("a",))


def test_a_head_that_does_not_answer_changes_nothing() -> None:
    head = Head(a=2)
    roster = head.roster()
    head.is_silent, head.now_s = True, LOOK_EVERY_S
    assert roster.n_slots == 2
    assert roster.news() is None


@pytest.mark.parametrize(
    ("node", "gpus", "expected"),
    [({"CPU": 5}, 0, 2), ({"CPU": 8, "GPU": 1}, 1, 1), ({"CPU": 8, "GPU": 1}, 0.25, 4), ({"CPU": 8}, 1, 0), ({}, 0, 0)],
)
def test_a_node_holds_what_fits_both_its_cpus_and_its_gpus(node: dict[str, float], gpus: float, expected: int) -> None:
    assert n_fitting(node, 2, gpus) == expected


@pytest.mark.parametrize(
    ("held", "n_nodes", "expected"),
    [((2, 1), 1, 3), ((2, 1), 2, 1), ((4,), 2, 0), ((2, 2, 2), 2, 3), ((9, 1, 1), 2, 2), ((1, 1), 3, 0), ((), 2, 0)],
)
def test_a_trial_over_several_nodes_needs_room_on_that_many(held: tuple[int, ...], n_nodes: int, expected: int) -> None:
    assert n_trials({str(at): ("host", n) for at, n in enumerate(held)}, n_nodes=n_nodes) == expected


def test_a_wait_names_slots_and_perhaps_seconds() -> None:
    assert WaitFor.parse("8") == WaitFor(8)
    assert WaitFor.parse(" 8,30") == WaitFor(8, 30.0)


@pytest.mark.parametrize("text", ["", "0", "8,", "-1", "8 30", "many", "8,1e9", "1" * 9])
def test_a_wait_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--wait-for"):
        WaitFor.parse(text)
