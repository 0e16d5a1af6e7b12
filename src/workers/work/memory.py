"""How much memory there is at this moment, as evidence of what an attempt ran into, and how much of a GPU is ours."""

import sys

import psutil

from workers.contract.system.control_group import read_control_group

MIB = 2**20
# Of a part of a GPU; the rest is for what is no tensor: CUDA's context, kernels, what ranks send each other.
FOR_TENSORS = 0.9


def memory_now() -> str:
    """Of this process, its machine, its control group where that has a limit, and its GPU where it uses one."""
    machine = psutil.virtual_memory()
    parts = [
        f"process {_mib(psutil.Process().memory_info().rss)} MiB",
        f"machine {_mib(machine.available)} of {_mib(machine.total)} MiB available",
        *_control_group(below=machine.total),
        *_gpu(),
    ]
    return ", ".join(parts)


def _control_group(*, below: int) -> list[str]:
    group = read_control_group(below=below)
    return [f"control group {_mib(group.used)} of {_mib(group.limit)} MiB used"] if group is not None else []


def _gpu() -> list[str]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    try:
        free, total = torch.cuda.mem_get_info()
        ours, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    except RuntimeError:  # a device that failed answers nothing more
        return []
    return [f"GPU {_mib(free)} of {_mib(total)} MiB free, {_mib(ours)} in our tensors, {_mib(reserved)} held"]


def keep_to_share(gpu_share: float) -> None:
    """Hold this process's tensors to its part of its GPU, or it takes what another one there is still to ask for.

    What it then lacks is out of memory of its own trial, which runs again in more parts. A whole GPU has no other.
    """
    torch = sys.modules["torch"]
    if 0 < gpu_share < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(gpu_share * FOR_TENSORS)


def gpu_bytes() -> int:
    """What the tensors of this process may take of its GPU, whatever others take of it at the moment."""
    torch = sys.modules["torch"]
    _, total = torch.cuda.mem_get_info()
    return int(total * torch.cuda.get_per_process_memory_fraction())


def _mib(n_bytes: int) -> int:
    return round(n_bytes / MIB)
