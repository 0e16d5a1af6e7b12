"""Slots are counted while a launch runs: nodes that join are used, nodes that leave are told of."""

from collections import Counter

import pytest

from orchestrator.execution.events import SlotsChanged
from orchestrator.execution.on_ray.executor import WaitFor
from orchestrator.execution.on_ray.nodes.roster import LOOK_EVERY_S, Host, Roster, n_at_once, n_slots, n_trials
from orchestrator.execution.on_ray.peers import Placement
from orchestrator.study.resources import TrialShare
from workers.contract.errors import InputError

SMALL = TrialShare(cpus_per_trial=1, gpus_per_trial=1)
LARGE = TrialShare(cpus_per_trial=1, gpus_per_trial=1, processes_per_trial=4)
WIDE = TrialShare(cpus_per_trial=1, gpus_per_trial=1, processes_per_trial=4, nodes_per_trial=2)


class Head:
    """A cluster that a test changes, and its clock."""

    def __init__(self, **room: int) -> None:
        self.room = room
        self.now_s = 0.0
        self.is_silent = False

    def look(self) -> dict[str, Host]:
        if self.is_silent:
            raise RuntimeError
        return {f"id-{host}": Host(host, n, n) for host, n in self.room.items()}

    def roster(self, *shares: TrialShare) -> Roster:
        return Roster(self.look, Counter(shares or [SMALL]), head="h:1", clock=lambda: self.now_s)


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
    [((5, 0), 0, 2), ((8, 1), 1, 1), ((8, 1), 0.25, 4), ((8, 0), 1, 0), ((0, 0), 0, 0)],
)
def test_a_node_holds_what_fits_both_its_cpus_and_its_gpus(
    node: tuple[float, float], gpus: float, expected: int
) -> None:
    assert Host("h", *node).n_fitting(TrialShare(cpus_per_trial=2, gpus_per_trial=gpus)) == expected


def test_shares_of_a_gpu_add_up_to_it() -> None:
    tenth = TrialShare(cpus_per_trial=0.1, gpus_per_trial=0.1)
    assert Host("h", 8, 1).without(tenth, 3).n_fitting(tenth) == 7


@pytest.mark.parametrize(
    ("held", "n_nodes", "expected"),
    [((2, 1), 1, 3), ((2, 1), 2, 1), ((4,), 2, 0), ((2, 2, 2), 2, 3), ((9, 1, 1), 2, 2), ((1, 1), 3, 0), ((), 2, 0)],
)
def test_a_trial_over_several_nodes_needs_room_on_that_many(held: tuple[int, ...], n_nodes: int, expected: int) -> None:
    assert n_trials(held, n_nodes=n_nodes) == expected


def room(**sizes: int) -> dict[str, Host]:
    return Head(**sizes).look()


@pytest.mark.parametrize(
    ("sizes", "wanted", "expected"),
    [
        ({"a": 4, "b": 1}, {LARGE: 1, SMALL: 9}, 2),
        ({"a": 3, "b": 3}, {LARGE: 1}, 0),
        ({"a": 3, "b": 3}, {WIDE: 1, SMALL: 1}, 2),
        ({"a": 4}, {WIDE: 1}, 0),
        ({"a": 4, "b": 4, "c": 4}, {WIDE: 9}, 3),
    ],
)
def test_larger_trials_are_placed_first_and_others_beside_them(
    sizes: dict[str, int], wanted: dict[TrialShare, int], expected: int
) -> None:
    assert n_at_once(room(**sizes), wanted) == expected


def test_slots_are_the_larger_trials_and_all_the_room_beside_them() -> None:
    assert n_slots(room(a=4, b=4), {LARGE: 1, SMALL: 1}) == 5
    assert n_slots(room(a=4, b=4), {SMALL: 1}) == 8


def test_a_trial_is_handed_out_where_there_is_room_beside_those_that_are_out() -> None:
    roster = Head(a=4, b=1).roster(LARGE, SMALL)
    assert roster.has_room(SMALL, beside={LARGE: 1})
    assert not roster.has_room(SMALL, beside={LARGE: 1, SMALL: 1})
    assert not roster.has_room(LARGE, beside={SMALL: 2})


def test_what_no_node_holds_any_more_counts_as_no_slot_once_nothing_else_is_left() -> None:
    head = Head(a=4, b=1)
    roster = head.roster(LARGE, SMALL)
    del head.room["a"]
    head.now_s = LOOK_EVERY_S
    assert roster.n_slots == 1
    roster.release(SMALL)
    assert roster.n_slots == 0


def test_room_that_larger_trials_leave_is_told_of_as_slots() -> None:
    head = Head(a=4)
    roster = head.roster(LARGE, SMALL)
    assert roster.n_slots == 1
    roster.release(LARGE)
    head.now_s += LOOK_EVERY_S
    assert roster.news() == SlotsChanged(4, "h:1")
    assert roster.news() is None


def test_the_last_trial_that_ends_leaves_its_slots() -> None:
    roster = Head(a=2).roster(SMALL)
    roster.release(SMALL)
    assert roster.n_slots == 2


def test_an_autoscaler_is_asked_for_what_is_left_and_no_oftener_than_the_cluster_is_looked_at() -> None:
    head, asked = Head(a=2), list[Counter[TrialShare]]()
    roster = head.roster(SMALL, SMALL, SMALL)
    roster.ask_for = lambda demand: asked.append(Counter(demand))
    for at_s, n_ended in ((0, 0), (LOOK_EVERY_S, 0), (LOOK_EVERY_S + 1, 1), (2 * LOOK_EVERY_S, 1), (9, 0), (99, 1)):
        head.now_s = at_s
        for _ in range(n_ended):
            roster.release(SMALL)
        roster.ask()
    assert [demand[SMALL] for demand in asked] == [3, 1, 1, 0]


def test_a_trial_holds_one_bundle_on_each_of_its_nodes_and_its_actor_takes_the_part_of_one_process() -> None:
    placed = Placement(WIDE)
    assert placed.required_resources == {"CPU": 4, "GPU": 4}
    assert placed.bundles == [{"CPU": 1, "GPU": 1}] * 2
    assert placed.strategy == "STRICT_SPREAD"


def test_an_actor_is_used_again_for_as_many_processes_alone() -> None:
    fewer = TrialShare(cpus_per_trial=2, gpus_per_trial=2, processes_per_trial=2, nodes_per_trial=2)
    assert Placement(WIDE) == Placement(WIDE)
    assert Placement(WIDE) != Placement(fewer)
    assert Placement(WIDE).required_resources == Placement(fewer).required_resources


def test_a_wait_names_slots_and_perhaps_seconds() -> None:
    assert WaitFor.parse("8") == WaitFor(8)
    assert WaitFor.parse(" 8,30") == WaitFor(8, 30.0)


@pytest.mark.parametrize("text", ["", "0", "8,", "-1", "8 30", "many", "8,1e9", "1" * 9])
def test_a_wait_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--wait-for"):
        WaitFor.parse(text)
