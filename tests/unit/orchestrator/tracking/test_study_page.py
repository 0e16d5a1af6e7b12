"""What MLflow shows of a study as a whole."""

import json
from pathlib import Path

from orchestrator.store.sealing import Standing
from orchestrator.tracking.place import view_address
from orchestrator.tracking.study_page import StudyAnswer, StudyPage
from support.stores.tracked import FIRST, STUDY, client_of, commit, launch, runs, with_database

ANSWER = StudyAnswer(
    "Worse.", {"rationale vs. label (ours)": (-0.05, -0.09, -0.01), "few": (0.1, None, None)}, basis="b"
)


def view(page: StudyPage, name: str) -> dict[str, object]:
    envelope = json.loads(page.views()[f"mlflow.sharedViewState.{name}"])
    assert {"name", "createdAt", "updatedAt", "state"} == envelope.keys()
    return dict(json.loads(envelope["state"]))


def test_the_answer_stands_above_the_table_and_on_the_parent_with_its_bounds(
    tmp_path: Path, empty_database: Path
) -> None:
    layout = with_database(tmp_path, empty_database)
    with launch(layout) as tracking:
        tracking.commit(commit(layout, FIRST))
        assert not tracking.is_answered("b")
        tracking.answer(ANSWER)
    with launch(layout) as tracking:  # which takes no answer away
        assert tracking.is_answered("b") and not tracking.is_answered("c")
    experiment = client_of(layout).get_experiment_by_name(STUDY.study)
    (parent,) = [run for run in runs(layout) if "sweep.study" in run.data.tags]
    for tags in (experiment.tags, parent.data.tags):
        assert STUDY.question in tags["mlflow.note.content"] and "Worse." in tags["mlflow.note.content"]
    assert (
        f"#/experiments/{experiment.experiment_id}/runs?viewStateShareKey=scores"
        in experiment.tags["mlflow.note.content"]
    )
    assert parent.data.metrics == {
        **{
            f"contrast/rationale vs. label _ours_{end}": n
            for end, n in (("", -0.05), ("_low", -0.09), ("_high", -0.01))
        },
        "contrast/few": 0.1,
    }
    assert (
        view_address(layout, STUDY.study) == f"#/experiments/{experiment.experiment_id}/runs?viewStateShareKey=scores"
    )


def test_saved_views_sort_by_what_may_be_seen() -> None:
    closed, opened = StudyPage("s", axes=("seed",), plan=Standing(is_blinded=True)), StudyPage("s", axes=("seed",))
    assert view(closed, "scores")["orderByKey"] == "metrics.`tuning/strict_auc`"
    assert view(opened, "scores")["orderByKey"] == "metrics.`held_out/strict_auc`"
    assert not any("held_out" in value for value in closed.views().values())
    for name in ("scores", "curves", "failures"):
        assert "params.`seed`" in view(opened, name)["selectedColumns"]  # type: ignore[operator]
        # In the order of their starts MLflow folds runs below their parent, and draws the parent alone.
        assert view(opened, name)["orderByKey"] != "attributes.start_time"


def test_a_store_without_a_database_has_no_page_to_open(tmp_path: Path, empty_database: Path) -> None:
    layout = with_database(tmp_path, empty_database)
    assert view_address(layout, STUDY.study) == ""
    layout.tracking_database.write_bytes(b"SQLite format 3\0 and no more")
    assert view_address(layout, STUDY.study) == ""
