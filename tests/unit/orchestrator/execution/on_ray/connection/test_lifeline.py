"""When a launch gives a cluster up: no node has had room for a trial for longer than one may take to come back."""

from orchestrator.execution.on_ray.connection.cluster import Lifeline
from orchestrator.execution.on_ray.connection.watching import HEAD_IS_GONE_AFTER, LOOK_EVERY_S, watch


class Cluster:
    """A cluster with room until it has none, a clock that a test sets, and a count of how often it was asked."""

    def __init__(self) -> None:
        self.has_room = True
        self.n_asked = 0
        self.now_s = 0.0

    def ask(self) -> bool:
        self.n_asked += 1
        return self.has_room

    def clock(self) -> float:
        return self.now_s


def test_a_cluster_is_asked_every_few_seconds_and_no_more() -> None:
    cluster = Cluster()
    lifeline = Lifeline(cluster.ask, waits_s=0, clock=cluster.clock)
    for tenth in range(10 * int(3 * LOOK_EVERY_S) + 1):
        cluster.now_s = tenth / 10
        assert not lifeline.check()
    assert cluster.n_asked == 3


def test_a_cluster_to_which_no_node_comes_back_is_lost_at_once() -> None:
    cluster = Cluster()
    lifeline = Lifeline(cluster.ask, waits_s=0, clock=cluster.clock)
    cluster.has_room, cluster.now_s = False, LOOK_EVERY_S
    assert lifeline.check()
    cluster.has_room, cluster.now_s = True, 100 * LOOK_EVERY_S
    assert lifeline.check()  # what was given up stays so


def test_a_node_that_comes_back_in_time_lets_the_launch_go_on() -> None:
    cluster = Cluster()
    lifeline = Lifeline(cluster.ask, waits_s=60, clock=cluster.clock)
    for second in range(500):
        cluster.now_s = second
        cluster.has_room = second % 100 > 50
        assert not lifeline.check()


def test_a_cluster_that_stays_without_room_is_lost_when_the_wait_is_over() -> None:
    cluster = Cluster()
    lifeline = Lifeline(cluster.ask, waits_s=60, clock=cluster.clock)
    cluster.has_room = False
    assert not lifeline.is_waiting
    while not lifeline.check():
        cluster.now_s += 1
    assert lifeline.is_waiting
    assert LOOK_EVERY_S + 60 <= cluster.now_s <= 2 * LOOK_EVERY_S + 60


def test_a_cluster_that_is_given_up_is_lost_at_once_and_says_why() -> None:
    cluster = Cluster()
    lifeline = Lifeline(cluster.ask, waits_s=60, clock=cluster.clock)
    lifeline.give_up("node h1, which can't be left out, turned unfit")
    assert lifeline.check()
    assert lifeline.why.startswith("node h1")


def test_a_head_that_misses_a_few_questions_is_not_gone_and_one_that_answers_none_is() -> None:
    patience = HEAD_IS_GONE_AFTER - 1
    answers = iter([True, *[False] * patience, True, *[False] * (patience + 1)])
    ended: list[bool] = []
    watch(lambda: next(answers), lambda _: False, lambda: ended.append(True))
    assert ended == [True]
    assert next(answers, None) is None


def test_nobody_is_ended_once_the_launch_is_over() -> None:
    ended: list[bool] = []
    watch(lambda: False, lambda _: True, lambda: ended.append(True))
    assert ended == []
