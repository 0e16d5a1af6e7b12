"""A process that has a part of a GPU keeps its tensors to it."""

import pytest
import torch

from workers.work.memory import FOR_TENSORS, keep_to_share


@pytest.mark.parametrize(("share", "expected"), [(0.25, [0.25 * FOR_TENSORS]), (1, []), (0, [])])
def test_a_part_of_a_gpu_is_a_cap_and_a_whole_one_is_none(
    share: float, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    capped: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", capped.append)
    keep_to_share(share)
    assert capped == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_there_is_no_gpu_nothing_is_capped() -> None:
    keep_to_share(0.25)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_what_goes_beyond_the_part_of_a_gpu_is_out_of_memory() -> None:
    _, total = torch.cuda.mem_get_info()
    try:
        keep_to_share(0.1)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            torch.empty(total // 10, dtype=torch.uint8, device="cuda")
        torch.empty(total // 20, dtype=torch.uint8, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
