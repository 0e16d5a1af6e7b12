"""When a launch gives a cluster up: it lost a worker, and has no node left."""

from orchestrator.cluster import LOOK_EVERY_S, Lifeline


class Nodes:
    """A cluster that has nodes until it has none, and counts how often it is asked."""

    def __init__(self) -> None:
        self.are_left = True
        self.n_asked = 0

    def __call__(self) -> bool:
        self.n_asked += 1
        return self.are_left


def test_nobody_asks_while_no_worker_was_lost() -> None:
    nodes = Nodes()
    assert not Lifeline(any_node=nodes).check()
    assert nodes.n_asked == 0


def test_a_cluster_without_a_node_is_lost_once_it_says_so() -> None:
    nodes, now = Nodes(), [0.0]
    lifeline = Lifeline(any_node=nodes, clock=lambda: now[0])
    lifeline.worker_was_lost()
    assert not lifeline.check()
    nodes.are_left = False
    assert not lifeline.check()  # asked a moment ago
    now[0] = LOOK_EVERY_S
    assert lifeline.check()
    assert lifeline.is_cut
    assert nodes.n_asked == 2


def test_a_lost_worker_alone_is_no_lost_cluster() -> None:
    now = [0.0]
    lifeline = Lifeline(any_node=lambda: True, clock=lambda: now[0])
    lifeline.worker_was_lost()
    for now[0] in range(100):
        assert not lifeline.check()
