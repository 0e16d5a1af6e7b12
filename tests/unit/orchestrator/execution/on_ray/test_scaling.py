"""What an autoscaler is asked for, where it takes a request whole or not at all and says no limit."""

from collections import Counter

import pytest
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

from orchestrator.execution.on_ray.nodes.scaling import MOST_ASKED_FOR, Bundles, Scaling
from orchestrator.study.resources import TrialShare

SMALL = TrialShare(cpus_per_trial=1, gpus_per_trial=1)
LARGE = TrialShare(cpus_per_trial=1, gpus_per_trial=1, processes_per_trial=4)
WIDE = TrialShare(cpus_per_trial=1, gpus_per_trial=1, processes_per_trial=4, nodes_per_trial=2)


class Autoscaler:
    """One that brings up to so many bundles, of each number of CPUs or all in all, and looks when a test lets it."""

    def __init__(self, most: int | dict[float, int], *, is_there: bool = True) -> None:
        self.most, self.is_there = most, is_there
        self.asked: list[Bundles] = []
        self.is_out_of_reach = False
        self._version = self._seen = 0

    def request(self, bundles: Bundles) -> None:
        if self.is_out_of_reach:
            raise RuntimeError
        self.asked.append(bundles)

    def look(self) -> None:
        self._seen = self._version

    def status(self) -> GetClusterStatusReply:
        self._version += 1
        told = GetClusterStatusReply()
        told.cluster_resource_state.cluster_resource_state_version = self._version
        if self.is_there:
            told.autoscaling_state.autoscaler_state_version = 1
            told.autoscaling_state.last_seen_cluster_resource_state_version = self._seen
            if self._is_too_much(self.asked[-1]):
                told.autoscaling_state.infeasible_cluster_resource_constraints.add()
        return told

    def _is_too_much(self, bundles: Bundles) -> bool:
        if isinstance(self.most, int):
            return len(bundles) > self.most
        return any(n > self.most[cpus] for cpus, n in Counter(bundle["CPU"] for bundle in bundles).items())

    def until_settled(self, scaling: Scaling, demand: Counter[TrialShare]) -> int:
        """How many bundles are asked for in the end."""
        for _ in range(40):
            scaling.ask_for(demand)
            self.look()
        return len(self.asked[-1])

    @property
    def asker(self) -> Scaling:
        return Scaling(self.request, self.status)


@pytest.mark.parametrize("most", [0, 1, 2, 63, 64, 503, 504, 2000])
@pytest.mark.parametrize("n_wanted", [1, 7, 504, 5000])
def test_as_much_is_asked_for_as_can_be_brought(most: int, n_wanted: int) -> None:
    autoscaler = Autoscaler(most)
    scaling = autoscaler.asker
    assert autoscaler.until_settled(scaling, Counter({SMALL: n_wanted})) == min(most, n_wanted, MOST_ASKED_FOR)
    n_requests = len(autoscaler.asked)
    assert n_requests <= 12
    autoscaler.until_settled(scaling, Counter({SMALL: n_wanted}))
    assert len(autoscaler.asked) == n_requests


def test_as_trials_end_less_is_asked_for_and_at_last_nothing() -> None:
    autoscaler = Autoscaler(64)
    scaling = autoscaler.asker
    found = [autoscaler.until_settled(scaling, Counter({SMALL: n_left})) for n_left in (504, 100, 64, 10, 1, 0)]
    assert found == [64, 64, 64, 10, 1, 0]


def test_few_large_nodes_keep_no_small_ones_away() -> None:
    autoscaler = Autoscaler({4.0: 2, 1.0: 50})
    autoscaler.until_settled(autoscaler.asker, Counter({LARGE: 100, SMALL: 100}))
    assert Counter(bundle["CPU"] for bundle in autoscaler.asked[-1]) == {4.0: 2, 1.0: 50}
    assert len(autoscaler.asked) <= 24


def test_what_shares_one_limit_takes_the_large_ones_first() -> None:
    autoscaler = Autoscaler(10)
    autoscaler.until_settled(autoscaler.asker, Counter({SMALL: 100, LARGE: 7}))
    assert Counter(bundle["CPU"] for bundle in autoscaler.asked[-1]) == {4.0: 7, 1.0: 3}


def test_nothing_new_is_asked_for_before_it_has_looked() -> None:
    autoscaler = Autoscaler(2)
    scaling = autoscaler.asker
    for _ in range(9):
        scaling.ask_for(Counter({SMALL: 8}))
    assert len(autoscaler.asked) == 1
    assert not scaling.is_answered


def test_where_nothing_scales_a_cluster_it_is_asked_once() -> None:
    autoscaler = Autoscaler(0, is_there=False)
    assert autoscaler.until_settled(autoscaler.asker, Counter({SMALL: 8})) == 8
    assert len(autoscaler.asked) == 1


def test_the_largest_trials_come_first_with_a_bundle_for_each_of_their_nodes() -> None:
    autoscaler = Autoscaler(9)
    autoscaler.asker.ask_for(Counter({SMALL: 1, LARGE: 1, WIDE: 1}))
    four, two, one = ({"CPU": float(n), "GPU": float(n)} for n in (4, 2, 1))
    assert autoscaler.asked == [[four, two, two, one]]


def test_a_head_that_does_not_answer_is_asked_again() -> None:
    autoscaler = Autoscaler(9)
    scaling, autoscaler.is_out_of_reach = autoscaler.asker, True
    scaling.ask_for(Counter({SMALL: 1}))
    autoscaler.is_out_of_reach = False
    assert autoscaler.until_settled(scaling, Counter({SMALL: 1})) == 1
    assert scaling.is_answered and not scaling.is_too_much
