"""A blinded study: no surface shows a held-out number before all of its trials have an outcome, and each does then."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.launch.launch import Launch
from orchestrator.launch.run import RunSummary, run_study
from orchestrator.tracking.place import database_uri
from orchestrator.tracking.tracking import Tracking
from support.executors.in_process import InProcess, Untracked
from support.executors.told import Told, ToldStudy
from support.launches.command_line import Done, refused, sweep_here
from support.stores.builders import invent_people, usual_signal
from support.stores.tracked import with_database
from support.studies.micro_study import write_study
from workers.contract.errors import StoreError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome, Split, checksum_of
from workers.contract.recipes.scorings import Scoring

PEOPLE = invent_people(160)
EXAMPLES = {example for example, split in zip(PEOPLE.example_id, PEOPLE.split, strict=True) if split == "held_out"}


class Place(ToldStudy):
    """A study that can be edited, launched and asked."""

    def edit(self, before: str, after: str) -> None:
        text = self.path.read_text()
        assert before in text
        self.path.write_text(text.replace(before, after))

    def launch(self, *, failing: str = "", is_tracked: bool = False) -> RunSummary:
        design, tracking = self.design, Tracking(self.layout) if is_tracked else Untracked(self.layout)

        def begin(order: Path) -> Told:
            trial = design.by_id[order.stem]
            return Told(self.layout, trial, PEOPLE, usual_signal(trial), fails=order.stem == failing)

        executor = InProcess(begin, n_slots=1, prepares=False)
        console = Console(file=self.said, width=200)
        return run_study(Launch(self.study, design, self.layout, executor, tracking, console))

    def sweep(self, *arguments: object) -> Done:
        return sweep_here(*arguments, cwd=self.path.parent)

    def outcomes(self) -> list[Outcome]:
        """As workers wrote them."""
        return [Outcome.load(path) for path in sorted(self.layout.trials.glob("*/outcome.json"))]

    def aucs(self, split: Split) -> set[float]:
        return {auc for one in self.outcomes() if (auc := one.scores[split].metrics[Scoring.STRICT].roc_auc)}


@pytest.fixture
def place(tmp_path: Path, empty_database: Path) -> Place:
    layout = StoreLayout(tmp_path / "store" / "micro")
    layout.root.mkdir(parents=True, mode=0o700)
    with_database(layout.root, empty_database)
    return Place(write_study(tmp_path), layout)


def surfaces(place: Place) -> Iterator[tuple[str, str]]:
    """Whatever shows people a study, by name: all that it says."""
    yield "terminal", place.said.getvalue()
    yield "record of launches", "".join(path.read_text() for path in place.layout.launches.iterdir())
    yield "MLflow", _tracked(place.layout)
    yield "status", place.sweep("status", place.path, "--json").stdout
    trials = [one.trial_id for one in place.outcomes()]
    yield "explain", "".join(place.sweep("explain", place.path, one, "--json").stdout for one in trials)
    yield "explain on a terminal", "".join(place.sweep("explain", place.path, one).stdout for one in trials)
    for table in ("trials", "predictions"):
        yield f"query {table}", place.sweep("query", place.path, f"select * from {table}", "--json").stdout
    yield "findings", place.sweep("report", place.path, "--json").stdout
    yield "page", place.layout.report.read_text()
    yield "checklist", place.layout.tripod.read_text()


def _tracked(layout: StoreLayout) -> str:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=database_uri(layout))
    experiment = client.get_experiment_by_name("micro")
    assert experiment is not None
    runs = [run.data.to_dictionary() for run in client.search_runs([experiment.experiment_id])]
    return json.dumps({"runs": runs, "page": experiment.tags})


def test_no_surface_shows_a_held_out_number_before_the_study_is_complete_and_all_do_then(place: Place) -> None:
    failing = place.design.trials[0].trial_id
    assert place.launch(failing=failing, is_tracked=True).is_blinded
    held_out, tuning = place.aucs("held_out"), place.aucs("tuning")
    shown = {f"{auc:.3f}" for auc in held_out}
    assert shown.isdisjoint(f"{auc:.3f}" for auc in tuning)
    assert not any(_seen(name, text, held_out) for name, text in surfaces(place))
    terminal = place.said.getvalue()
    assert all(f"tuning AUC {auc:.3f}" in terminal for auc in tuning)
    assert "scores on held-out closed until every trial has an outcome" in terminal

    assert not place.launch(is_tracked=True).is_blinded
    assert "every trial has an outcome: the scores on held-out are open now" in place.said.getvalue()
    texts, held_out = dict(surfaces(place)), place.aucs("held_out")
    silent = {"terminal", "record of launches", "status"}  # who watched the last trial was blinded still
    assert {name for name, text in texts.items() if not _seen(name, text, held_out)} == silent
    assert all(str(auc)[:8] in texts["query trials"] for auc in held_out)
    assert all(example in texts["query predictions"] for example in EXAMPLES)
    assert _run_numbers(place) == {"held_out", "tuning"}


def _seen(name: str, text: str, aucs: set[float]) -> set[str]:
    """What of held_out stands in a text: its participants' examples, and AUCs as people or as programs read them."""
    is_for_people = name in ("terminal", "page", "explain on a terminal")
    spelt = {f"{auc:.3f}" if is_for_people else str(auc)[:8] for auc in aucs}
    return {needle for needle in spelt | EXAMPLES if needle in text}


def _run_numbers(place: Place) -> set[str]:
    """Splits of which every run of a trial has metrics."""
    runs = [run for run in json.loads(_tracked(place.layout))["runs"] if "sweep.trial_id" in run["tags"]]
    return set.intersection(*({name.split("/")[0] for name in run["metrics"]} for run in runs)) - {"cost", "train"}


def test_who_asks_opens_the_scores_of_a_study_whose_trials_failed_and_it_is_recorded(place: Place) -> None:
    place.launch(failing=place.design.trials[0].trial_id)
    assert "closed" in json.loads(place.sweep("report", place.path, "--json").stdout)["answer"]
    done = place.sweep("report", place.path, "--unblind")
    assert done.returncode == 0
    record = json.loads(place.layout.unblinding.read_text())
    n_trials = len(place.design.everything)
    assert (record["why"], record["n_done"], record["n_trials"]) == ("somebody asked for it", n_trials - 1, n_trials)
    assert record["by"]
    assert record["opened_at"]
    told = json.loads(place.sweep("report", place.path, "--json").stdout)
    assert told["plan"]["opened_because"] == "somebody asked for it"
    assert any(trial["strict_auc"] for trial in told["trials"])
    rows = place.sweep("query", place.path, "select * from trials", "--json").stdout
    assert all(str(auc)[:8] in rows for auc in place.aucs("held_out"))
    before = place.layout.unblinding.read_bytes()
    place.sweep("report", place.path, "--unblind")
    place.launch()
    assert place.layout.unblinding.read_bytes() == before  # the first opening counts


def test_what_is_handed_out_of_a_blinded_store_is_refused(place: Place) -> None:
    place.launch(failing=place.design.trials[0].trial_id)
    trial = place.outcomes()[0].trial_id
    out = place.path.parent / "out.parquet"
    asked = place.sweep("cohort", "predictions", place.path, "--trial", trial, "--out", out)
    assert "closed until every trial has an outcome" in refused(asked)
    assert not out.exists()
    assert "closed" in refused(place.sweep("score", place.path, "--trial", trial, "--store", place.layout.root))


def test_a_study_that_declares_it_is_open_from_its_first_launch(place: Place) -> None:
    place.edit("resources:", "blind: false\nresources:")
    place.launch(failing=place.design.trials[0].trial_id)
    assert not place.layout.is_blinded
    assert f"AUC {max(place.aucs('held_out')):.3f}" in place.said.getvalue()
    plan = json.loads(place.sweep("report", place.path, "--json").stdout)["plan"]
    assert plan["deviations"] == []


def test_blinding_that_is_given_up_later_is_an_opening_and_a_deviation(place: Place) -> None:
    failing = place.design.trials[0].trial_id
    place.launch(failing=failing)
    place.edit("resources:", "blind: false\nresources:")
    assert place.layout.is_blinded
    place.launch(failing=failing)
    assert json.loads(place.layout.unblinding.read_text())["why"] == "the study declares `blind: false`"
    plan = json.loads(place.sweep("report", place.path, "--json").stdout)["plan"]
    assert plan["deviations"] == [{"part": "blind", "sealed": "true", "today": "false"}]


def test_a_contrast_that_is_changed_after_the_run_stands_as_a_deviation_beside_what_was_sealed(place: Place) -> None:
    place.launch()
    before = json.loads(place.sweep("report", place.path, "--json").stdout)
    assert before["plan"]["deviations"] == []
    assert before["sealed_contrast"] is None
    contrast = "treatment: [free_form], reference: label_only"
    place.edit(contrast, f"{contrast}, where: {{train_size: [32]}}")
    place.launch(is_tracked=True)
    after = json.loads(place.sweep("report", place.path, "--json").stdout)
    (deviation,) = after["plan"]["deviations"]
    assert deviation == {
        "part": "contrasts.rationale_vs_label",
        "sealed": f"{{{contrast}}}",
        "today": f"{{{contrast}, where: {{train_size: [32]}}}}",
    }
    statement = "This answers a contrast that was changed after the plan was sealed: sealed was rationale_vs_label"
    assert after["answer"].startswith(statement)
    value = before["contrasts"][0]["strict"]["value"]
    assert f"{value:+.3f}".replace("-", "−") in after["answer"].partition("over 1 of 1")[0]
    page = place.layout.report.read_text()
    assert deviation["sealed"] in page
    assert deviation["today"] in page
    (parent,) = [run for run in json.loads(_tracked(place.layout))["runs"] if "sweep.study" in run["tags"]]
    tags = parent["tags"]
    assert tags["sweep.deviations"] == f"{deviation['part']}: {deviation['sealed']} → {deviation['today']}"
    assert tags["sweep.plan"] == after["plan"]["digest"]
    assert tags["sweep.blinded"] == "no"
    assert "1 deviation since" in place.sweep("status", place.path).stdout


def test_the_contrast_that_was_first_when_sealed_stays_the_one_that_was_planned(place: Place) -> None:
    first = "rationale_vs_label: {treatment: [free_form], reference: label_only}"
    place.edit(f"  {first}", f"  {first}\n  label_vs_rationale: {{treatment: [label_only], reference: free_form}}")
    place.launch()
    place.edit(f"  {first}\n", "")
    place.edit("resources:", f"  {first}\nresources:")
    after = json.loads(place.sweep("report", place.path, "--json").stdout)
    sealed, today = "[rationale_vs_label, label_vs_rationale]", "[label_vs_rationale, rationale_vs_label]"
    assert after["plan"]["deviations"] == [{"part": "contrasts", "sealed": sealed, "today": today}]
    assert "sealed was rationale_vs_label" in after["answer"]


def test_a_plan_that_was_touched_is_refused_before_anything_runs_and_nothing_is_lost(place: Place) -> None:
    failing = place.design.trials[0].trial_id
    place.launch(failing=failing)
    sealed = place.layout.analysis_plan.read_text()
    committed = {path: path.read_bytes() for path in place.layout.trials.rglob("*") if path.is_file()}
    stored = json.loads(sealed)
    unsigned = {name: value for name, value in stored.items() if name != "checksum"}
    another = json.dumps(_resealed(stored | {"version": 2}))
    damages = (sealed[: len(sealed) // 2], sealed.replace("free_form", "step_by_step"), json.dumps(unsigned), "")
    for text, what in (
        (another, "written by another version"),
        *((text, "is not what was written") for text in damages),
    ):
        place.layout.analysis_plan.write_text(text)
        with pytest.raises(StoreError, match=f"analysis_plan.json: {what}; [^;]+$"):
            place.launch(failing=failing)
        assert place.layout.is_blinded
    for command in ("report", "status"):
        assert "restore it from a copy" in refused(place.sweep(command, place.path))
    assert {path: path.read_bytes() for path in place.layout.trials.rglob("*") if path.is_file()} == committed
    assert place.sweep("verify", place.path).returncode == 3
    place.layout.analysis_plan.write_text(sealed)
    assert place.launch().exit_code == 0


def _resealed(stored: dict[str, object]) -> dict[str, object]:
    return stored | {"checksum": checksum_of(stored)}


def test_a_store_with_results_and_no_plan_is_read_as_before_says_so_and_is_never_sealed(place: Place) -> None:
    place.launch(failing=place.design.trials[0].trial_id)
    place.layout.analysis_plan.unlink()  # as a store from before there were plans, or a plan that somebody lost
    told = json.loads(place.sweep("report", place.path, "--json").stdout)
    assert told["plan"]["sealed_at"] is None
    assert any(trial["strict_auc"] for trial in told["trials"])
    assert "not sealed before the first outcome" in place.sweep("status", place.path).stdout
    place.launch()
    assert not place.layout.analysis_plan.exists()
    assert "No plan was sealed before the first outcome" in place.layout.report.read_text()


def test_what_is_mended_before_anything_could_run_is_no_deviation(place: Place) -> None:
    executor = InProcess(n_slots=1, prepares=False)
    executor.make = lambda *_: None  # type: ignore[method-assign]  # stopped while the inputs are made
    console = Console(file=place.said)
    run_study(Launch(place.study, place.design, place.layout, executor, Untracked(place.layout), console))
    assert not place.layout.analysis_plan.exists()
