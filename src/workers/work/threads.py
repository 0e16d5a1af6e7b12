"""How many threads this process computes with."""

import torch
from threadpoolctl import threadpool_limits


def compute_with(n_threads: int) -> None:
    """Have torch use so many, and BLAS and OpenMP, which may have been loaded before that was known."""
    torch.set_num_threads(n_threads)
    threadpool_limits(limits=n_threads)
