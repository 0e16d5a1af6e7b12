"""A store as data frames, as a notebook reads it."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import orchestrator
from orchestrator.explain.frames import StoreFrames
from orchestrator.store.dataset.aggregate import aggregate
from orchestrator.study.study import sealed_text
from support.stores.full import DESIGN, STUDY, full_store
from workers.contract.errors import InputError, StoreError
from workers.contract.layout import StoreLayout


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> StoreLayout:
    layout = full_store(tmp_path_factory.mktemp("frames"))
    aggregate(layout, DESIGN)
    layout.study.write_text(sealed_text(STUDY))
    return layout


@pytest.fixture(scope="module")
def frames(layout: StoreLayout) -> StoreFrames:
    return orchestrator.open_store(str(layout.root))


def test_each_trial_is_a_row_and_each_prediction_and_step_names_its_trial(frames: StoreFrames) -> None:
    trials, predictions, history = frames.trials(), frames.predictions(), frames.history()
    assert set(trials["trial_id"]) == set(DESIGN.by_id)
    assert set(predictions["trial_id"]) | set(history["trial_id"]) <= set(trials["trial_id"])
    assert predictions["p_strict"].dropna().between(0, 1).all()


def test_contrasts_are_those_of_the_report_with_their_bounds(frames: StoreFrames) -> None:
    table = frames.contrasts()
    primary = frames.findings.contrasts[0]
    row = table[(table["contrast"] == primary.name) & (table["scoring"] == "strict")].iloc[0]
    strict = primary.layers[0]["strict"]  # type: ignore[index]  # by its name
    assert strict is not None
    assert tuple(row[["difference", "low", "high"]]) == (strict.value, strict.low, strict.high)
    assert set(table["contrast"]) == set(STUDY.contrasts)
    assert (table["low"] <= table["high"]).all()


def test_a_store_is_said_on_one_short_line(frames: StoreFrames, layout: StoreLayout) -> None:
    assert repr(frames) == f"StoreFrames('{layout.root}')"


def test_statements_keep_their_types_and_may_only_read(frames: StoreFrames) -> None:
    counted = frames.query("select count(*) as n, max(ended_at) as at from trials")
    assert counted["n"].dtype == "int64" and isinstance(counted, pd.DataFrame)
    with pytest.raises(InputError):
        frames.query("create table x as select 1")


def test_a_folder_that_is_no_store_and_a_store_without_an_ended_trial_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no store"):
        orchestrator.open_store(tmp_path)
    layout = StoreLayout(tmp_path / "bare")
    layout.root.mkdir()
    layout.study.write_text(sealed_text(STUDY))
    with pytest.raises(StoreError, match="no dataset yet"):
        orchestrator.open_store(layout.root).trials()
    with pytest.raises(StoreError, match="no trial yet"):
        orchestrator.open_store(layout.root).contrasts()


@pytest.mark.parametrize("path", ["absent", __file__, "", "a" * 300, "a\0b", "~nobody-here/x", None, 3, True, b"x", []])
def test_what_is_no_path_of_a_store_is_refused_in_one_sentence(path: Any) -> None:  # noqa: ANN401
    with pytest.raises(InputError, match=r".: is no .*; name one that `sweep run` made"):
        orchestrator.open_store(path)


def test_the_package_has_no_other_name_to_give() -> None:
    with pytest.raises(AttributeError):
        orchestrator.close_store  # noqa: B018
