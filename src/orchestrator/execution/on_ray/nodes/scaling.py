"""What an autoscaler is asked to bring, and what it says to that.

Ray's own takes a request whole or brings nothing of it, keeps what it brought until it is asked for something else,
whatever becomes of who asked, and tells nobody how much it may bring: only, within seconds, that it can't bring this.
"""

import time
from collections import Counter
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
    """Asks an autoscaler for as much of what is wanted as it can bring.

    First for all of it. Where that is too much, for more of one kind of trial at a time, the largest first, beside what
    is known to come of the others: half of what it can't bring, and so on, up and down. Where nothing scales the
    cluster, nobody hears it; where the cluster went, the launch ends with it.
    """

    def __init__(
        self,
        request: Callable[[Bundles], object] = lambda bundles: request_resources(bundles=bundles),
        status: Callable[[], GetClusterStatusReply] = status_of_cluster,
    ) -> None:
        self._request, self._status = request, status
        self._asked: Counter[TrialShare] = Counter()
        self._asked_at = 0
        self._brought: Counter[TrialShare] = Counter()
        self._too_many: dict[TrialShare, int] = {}
        self._more_of: TrialShare | None = None
        self.is_answered, self.is_too_much = True, False

    def ask_for(self, demand: Mapping[TrialShare, int]) -> None:
        """Hear what it said to what was asked before, and ask for so much of what is wanted now; to be called again."""
        with suppress(Exception):
            self.hear()
            wanted = self._within_reach(+Counter({share: min(n, MOST_ASKED_FOR) for share, n in demand.items()}))
            if wanted != self._asked:
                counts = {share: wanted[share] * share.nodes_per_trial for share in _largest_first(wanted)}
                bundles = [bundle_of(share) for share, n in counts.items() for _ in range(n)]
                self._request(bundles)
                self._asked, self.is_answered = wanted, not bundles
                self._asked_at = self._status().cluster_resource_state.cluster_resource_state_version

    def hear(self) -> None:
        """Take note of an answer to what was asked last; raises what Ray does where the head does not answer."""
        if self.is_answered:
            return
        said = self._status().autoscaling_state
        if said.autoscaler_state_version and said.last_seen_cluster_resource_state_version >= self._asked_at:
            self.is_answered = True
            if not said.infeasible_cluster_resource_constraints:
                self._brought |= self._asked
            else:
                self.is_too_much = True
                if self._more_of is not None:
                    self._too_many[self._more_of] = self._asked[self._more_of]

    def _within_reach(self, demand: Counter[TrialShare]) -> Counter[TrialShare]:
        """All of it, until that was too much; then what is known to come, and more of one kind unless that is known."""
        if not self.is_too_much:
            self._more_of = next(iter(demand)) if len(demand) == 1 else None
            return demand
        if not self.is_answered:
            return demand & self._asked
        wanted, self._more_of = demand & self._brought, None
        for share in _largest_first(demand):
            low, high = self._brought[share], self._too_many.get(share, MOST_ASKED_FOR + 1)
            if demand[share] > low and high - low > 1:
                wanted[share] = demand[share] if demand[share] < high else (low + high) // 2
                self._more_of = share
                break
        return wanted


def _largest_first(demand: Counter[TrialShare]) -> list[TrialShare]:
    return sorted(demand, key=lambda share: share.size, reverse=True)


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
        if scaling.is_answered and not scaling.is_too_much:
            return True
        withdraw()
    return False


def withdraw() -> None:
    """Ask for nothing any more, whoever asked."""
    with suppress(Exception):  # the cluster went
        request_resources(bundles=[])
