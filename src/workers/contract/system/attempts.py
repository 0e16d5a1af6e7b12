"""Where an attempt that failed is written down: by its worker, or by the driver for one that vanished."""

import itertools
from datetime import datetime

from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt
from workers.contract.system.durable import link_exclusive


def record_attempt(attempt: Attempt, layout: StoreLayout) -> None:
    """Write a failed attempt under the first free number of its trial."""
    for number in itertools.count(1):
        body = attempt.model_copy(update={"number": number}).sealed().model_dump_json(indent=1).encode()
        if link_exclusive(layout.attempts(attempt.trial_id) / f"{number}.json", body):
            return


def precise(moment: datetime) -> str:
    """A moment as an attempt is recorded, ISO 8601 to the millisecond."""
    return moment.isoformat(timespec="milliseconds")
