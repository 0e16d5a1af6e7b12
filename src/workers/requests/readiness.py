"""Whether a worker could work here: imports the heavy libraries, about 6 s, and computes a sum on every GPU."""

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import version

from workers.contract.answers.readiness import Gpu, Readiness, ReadinessRequest

LIBRARIES = ("torch", "transformers", "peft", "deepspeed", "pyarrow", "pandas", "sklearn", "safetensors")
PACKAGE_OF = {"sklearn": "scikit-learn"}
GIB = 2**30


def readiness(_: ReadinessRequest) -> Readiness:
    """Try everything; what does not work is named by the class of its error."""
    imported, broken = {}, {}
    for name in LIBRARIES:
        try:
            with redirect_stdout(sys.stderr):  # DeepSpeed reports there, where the answer belongs
                import_module(name)
        except Exception as error:  # noqa: BLE001  # a broken library may raise anything: that is what is asked
            broken[name] = type(error).__name__
        else:
            imported[name] = version(PACKAGE_OF.get(name, name))
    if "torch" in broken:
        return Readiness(imported=imported, broken=broken)
    import torch

    return Readiness(imported=imported, broken=broken, gpus=tuple(_gpus()), n_threads=torch.get_num_threads())


def _gpus() -> Iterator[Gpu]:
    import torch

    for index in range(torch.cuda.device_count()):
        name = "GPU"
        try:
            name = torch.cuda.get_device_name(index)
            free, total = torch.cuda.mem_get_info(index)
            torch.ones(8, device=f"cuda:{index}").sum().item()
        except Exception as error:  # noqa: BLE001  # drivers fail in many ways
            yield Gpu(name=name, total_gib=0, free_gib=0, error=type(error).__name__)
        else:
            yield Gpu(name=name, total_gib=total / GIB, free_gib=free / GIB)
