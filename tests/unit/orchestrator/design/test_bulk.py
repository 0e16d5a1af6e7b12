"""The cycle collector is left out for as long as it should be, and no longer."""

import gc

import pytest

from orchestrator.design.bulk import without_collector


def test_the_collector_works_again_after_the_work_even_if_it_failed() -> None:
    with without_collector():
        with without_collector():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="work"), without_collector():
        raise ValueError("work")
    assert gc.isenabled()


def test_who_has_switched_it_off_keeps_it_off() -> None:
    gc.disable()
    try:
        with without_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
