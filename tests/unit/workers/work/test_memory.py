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
