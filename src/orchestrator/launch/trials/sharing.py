"""How much of a GPU trials of a base take where the study says `auto`: measured once a store, then written down."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.execution.executor import Pool, Unfit
from orchestrator.execution.gpu_sharing import gpu_part, told, too_large
from orchestrator.launch.forecast.taken import as_launched
from orchestrator.launch.launch import Launch
from orchestrator.launch.record import LaunchRecord, SlotsFound
from orchestrator.study.resources import AUTO, Device
from workers.contract.errors import InputError
from workers.contract.trial import AxisValue


def share_gpus(
    pool: Pool, launch: Launch, record: LaunchRecord, orders: Mapping[AxisValue | None, Sequence[Path]], unfit: Unfit
) -> Unfit | None:
    """Decide it for bases of which that is not known; why trials can't run, by id; null where the launch was stopped.

    Processes that train a trial together have a GPU each, for NCCL takes no two of them on one.

    Args:
        orders: By base, each named by its trial's id.
        unfit: What is known to be so; what does not fit a GPU is added.

    Raises:
        InputError: A trial does not fit a GPU.
        ClusterError: The measurement broke, or the workers were lost.
    """
    resources = as_launched(launch.study.resources, launch.layout)
    asked = {
        str(base): fitting
        for base, paths in orders.items()
        if base is not None
        and resources.share_of(base).gpus_per_trial == AUTO
        and (fitting := [path for path in paths if path.stem not in unfit])
    }
    if not asked or pool.slots.device != Device.GPU.upper():
        return unfit
    alone = {base: paths for base, paths in asked.items() if resources.share_of(base).processes_per_trial == 1}
    if alone:
        launch.console.print(f"measuring how many trials share a GPU, once a store: {', '.join(alone)}")
    loads = pool.measure(alone)
    if loads is None:
        return None
    crowded = {base: too_large(base, load) for base, load in loads.items() if not load.fits}
    if crowded and not launch.skips_unfit:
        raise InputError(*crowded.values())
    gpus = {base: 1.0 for base in asked.keys() - alone.keys()}
    for base in alone.keys() - loads.keys():
        launch.console.print(f"{base}: not measured, for its trial failed; until it is, a trial takes a whole GPU")
    for base, load in loads.items():
        if load.fits:
            gpus[base] = gpu_part(load, cpus_per_trial=resources.share_of(base).cpus_per_trial)
            launch.console.print(f"{base}: {gpus[base]:g} of a GPU a trial; {told(load)}")
    pool.reserve(resources.decided(gpus))
    record.write(SlotsFound(n_slots=pool.slots.n_slots, device=pool.slots.device, gpus=gpus))
    return {**unfit, **{path.stem: (problem,) for base, problem in crowded.items() for path in asked[base]}}
