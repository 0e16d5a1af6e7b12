"""What `sweep plan` says of the launch that would carry the plan out."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from orchestrator.design.plan import Plan
from orchestrator.launch.forecast.hours import TimeForecast, forecast_time
from orchestrator.launch.forecast.needs import (
    DiskForecast,
    TeachingForecast,
    forecast_disk,
    forecast_teaching,
    free_bytes,
)
from orchestrator.launch.forecast.taken import as_launched, slots_of, taken_here, taken_there
from orchestrator.launch.screen.board import longest_first
from orchestrator.study.resources import AUTO, Resources, TrialShare
from workers.contract.errors import InputError, Problem
from workers.contract.layout import StoreLayout


@dataclass(frozen=True)
class Ahead:
    """What a launch would take."""

    time: TimeForecast
    disk: DiskForecast
    free_bytes: int
    teaching: TeachingForecast | None
    demand: Mapping[TrialShare, int]

    def lines(self, study: str) -> list[str]:
        """For a terminal, `study` being how one names it and its store; none where nothing is to be run."""
        disk = [f"disk {self.disk.told(free_bytes=self.free_bytes)}"] if self.disk.need_bytes else []
        teaching = [f"teacher writes {self.teaching}"] if self.teaching else []
        is_usual = all(share.processes_per_trial == 1 for share in self.demand) and len(self.demand) < 2
        devices = [] if is_usual else [f"{n} trials reserve {share}" for share, n in self.demand.items()]
        is_open = any(share.gpus_per_trial == AUTO for share in self.demand)
        unknown = "gpus_per_trial is auto: the first launch on GPUs measures it; until then a trial counts as a GPU"
        return [*self.time.lines(study), *disk, *teaching, *devices, *([unknown] if is_open else ())]

    def to_json(self) -> dict[str, object]:
        """The same as facts."""
        disk = {**asdict(self.disk), "free_bytes": self.free_bytes}
        teaching = asdict(self.teaching) if self.teaching else None
        demand = [{**share.model_dump(), "n_trials": n} for share, n in self.demand.items()]
        return {"time": self.time.to_json(), "disk": disk, "teaching": teaching, "demand": demand}


def look_ahead(
    plan: Plan, layout: StoreLayout, resources: Resources, *, pilot: StoreLayout | None, price: float | None
) -> Ahead:
    """Look at the store as a plan found it, and at that of a pilot.

    Raises:
        InputError: The pilot holds no trial of a kind that is missing.
        StoreError: An outcome was damaged since.
    """
    missing = sorted((planned.trial for planned in plan.todo), key=longest_first)
    taken, n_slots, resources = taken_here(plan, layout), slots_of(layout), as_launched(resources, layout)
    if pilot is not None:
        learnt, n_slots = taken_there(pilot, missing), n_slots or slots_of(pilot)
        if missing and not learnt:
            what = "holds no trial of a kind that is missing here: method, base, supervision, cohort and evaluation"
            raise InputError(Problem("--pilot", f"{pilot.root} {what}", "name another store, or leave it out"))
        taken = {kind: [*taken.get(kind, ()), *learnt.get(kind, ())] for kind in {**taken, **learnt}}
    time = forecast_time(missing, taken, n_slots=n_slots or 1, resources=resources, price=price)
    teaching = forecast_teaching((trial.spec for trial in missing), layout)
    demand = Counter(resources.share_of(trial.coordinates.get("base")) for trial in missing)
    return Ahead(time, forecast_disk(plan, layout), free_bytes(layout), teaching, demand)


def parse_price(text: str) -> float:
    """What an hour of a device costs, in whatever money.

    Raises:
        InputError: It is no positive number.
    """
    try:
        price = float(text)
    except ValueError:
        price = math.nan
    if not 0 < price < math.inf:
        remedy = "write what an hour of a GPU costs, or of a core where trials run on CPUs, as 2.5"
        raise InputError(Problem("--price", f"`{text}` is no positive number", remedy))
    return price
