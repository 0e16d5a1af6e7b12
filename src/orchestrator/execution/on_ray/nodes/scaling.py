"""What an autoscaler is asked to bring, and what it says to that.

Ray's own takes a request whole or brings nothing of it, keeps what it brought until it is asked for something else,
whatever becomes of who asked, and tells nobody how much it may bring: only, within seconds, that it can't bring this.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeAlias

from ray.autoscaler.sdk import request_resources
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply
from ray.experimental.internal_kv import internal_kv_get_gcs_client

from orchestrator.study.resources import TrialShare

CPU, GPU = "CPU", "GPU"
# It looks every five seconds, unless it is told otherwise.
ANSWERS_WITHIN_S, LOOK_EVERY_S = 20.0, 0.5
# It has a limit of its own.
MOST_ASKED_FOR = 1000

Bundles: TypeAlias = list[dict[str, float]]


def bundle_of(share: TrialShare) -> dict[str, float]:
    """What a trial holds on each of its nodes."""
    amounts = {CPU: share.cpus_per_trial * share.n_here, GPU: share.gpus * share.n_here}
    return {name: amount for name, amount in amounts.items() if amount}


def status_of_cluster() -> GetClusterStatusReply:
    """What the head and an autoscaler know of each other; raises what Ray does where the head does not answer."""
    status = GetClusterStatusReply()
    status.ParseFromString(internal_kv_get_gcs_client().get_cluster_status(timeout_s=2))
    return status


class Scaling:
    """Asks an autoscaler for as much of what is wanted as it can bring: half of what it can't, and so on, up and down.

    Where nothing scales the cluster, nobody hears it; where the cluster went, the launch ends with it.
    """

    def __init__(
        self,
        request: Callable[[Bundles], object] = lambda bundles: request_resources(bundles=bundles),
        status: Callable[[], GetClusterStatusReply] = status_of_cluster,
    ) -> None:
        self._request, self._status = request, status
        self._asked: Bundles = []
        self._asked_at = 0
        self._n_brought, self._n_too_many = 0, MOST_ASKED_FOR + 1
        self.is_answered = True

    @property
    def is_brought(self) -> bool:
        """Whether all that was asked for can be brought, as far as was said."""
        return self.is_answered and len(self._asked) <= self._n_brought

    def ask_for(self, demand: Mapping[TrialShare, int]) -> None:
        """Hear what it said to what was asked before, and ask for so much of what is wanted now; to be called again."""
        wanted = [
            bundle_of(share)
            for share, n in sorted(demand.items(), key=lambda each: each[0].size, reverse=True)
            for _ in range(min(n * share.nodes_per_trial, MOST_ASKED_FOR))
        ]
        with suppress(Exception):
            self.hear()
            bundles = wanted[: self._n_to_ask(len(wanted))]
            if bundles != self._asked:
                self._request(bundles)
                self._asked, self.is_answered = bundles, not bundles
                self._asked_at = self._status().cluster_resource_state.cluster_resource_state_version

    def hear(self) -> None:
        """Take note of an answer to what was asked last; raises what Ray does where the head does not answer."""
        if self.is_answered:
            return
        said = self._status().autoscaling_state
        if said.autoscaler_state_version and said.last_seen_cluster_resource_state_version >= self._asked_at:
            self.is_answered = True
            if said.infeasible_cluster_resource_constraints:
                self._n_too_many = len(self._asked)
            else:
                self._n_brought = max(self._n_brought, len(self._asked))

    def _n_to_ask(self, n_wanted: int) -> int:
        """Less than what was too much, more than what was not, until nothing is between them."""
        if n_wanted <= self._n_brought or n_wanted < self._n_too_many:
            return n_wanted
        return (self._n_brought + self._n_too_many) // 2


def is_scaled() -> bool:
    """Whether an autoscaler works on the connected cluster."""
    with suppress(Exception):
        return bool(status_of_cluster().autoscaling_state.autoscaler_state_version)
    return False


def is_offered(share: TrialShare) -> bool:
    """Whether an autoscaler would bring the nodes of such a trial: it is asked to, which it then does."""
    scaling = Scaling()
    with suppress(Exception):
        if not is_scaled():
            return False
        scaling.ask_for({share: 1})
        deadline = time.monotonic() + ANSWERS_WITHIN_S
        while not scaling.is_answered and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
            scaling.hear()
        if scaling.is_brought:
            return True
        withdraw()
    return False


def withdraw() -> None:
    """Ask for nothing any more, whoever asked."""
    with suppress(Exception):  # the cluster went
        request_resources(bundles=[])
