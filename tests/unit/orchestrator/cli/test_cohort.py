"""`sweep cohort`: the flow on the terminal with small counts hidden, refusals, and predictions for MEDS-Evaluation."""

import io
import json
import shutil
import stat
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.cli.views.cohort import CohortView, check_study_cohort, show_cohort
from orchestrator.report.suppression import shown_counts
from orchestrator.saying.terminal import Terminal
from orchestrator.study.cohort import load_study_cohort
from support.cohorts.meds_folders import TASK, recipe_of, write_crowd, write_labels
from support.launches.command_line import Done, sweep_here
from support.stores.builders import cohort_counts
from support.studies.micro_study import write_study
from support.studies.orders import comparator_spec
from workers.attempt.runner import Runner
from workers.contract.answers.findings import PredictionsOrder
from workers.contract.errors import InputError, StoreError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.system.sources import digest_of_place
from workers.contract.trial import Method, Trial, TrialSpec, WorkOrder
from workers.requests import predictions as evaluation

COLUMNS = {
    "subject_id": pa.int64(),
    "prediction_time": pa.timestamp("us"),
    "boolean_value": pa.bool_(),
    "predicted_boolean_value": pa.bool_(),
    "predicted_boolean_probability": pa.float32(),
}


def sweep(*arguments: object, cwd: Path) -> Done:
    return sweep_here("cohort", *arguments, cwd=cwd)


def refused(done: Done) -> list[str]:
    """The lines of a refusal."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    return lines


def meds_file(folder: Path, *, min_cell: int = 0, sha256: str | None = None) -> Path:
    """A YAML file that holds a cohort and nothing else."""
    path = folder / "cohort.yaml"
    digest = sha256 or digest_of_place(folder / "meds")
    fields = (
        f"source: meds, folder: meds, sha256: {digest}, labels: {TASK}, question: 'Dementia?', min_cell: {min_cell}"
    )
    path.write_text(f"cohort: {{{fields}}}\n")
    return path


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a MEDS folder of 240 people; not to be changed."""
    folder = tmp_path_factory.mktemp("crowd")
    write_crowd(folder / "meds")
    return folder


class TestCheck:
    def test_a_study_file_shows_its_flow_with_small_counts_hidden(self, tmp_path: Path) -> None:
        study = write_study(tmp_path)
        study.write_text(study.read_text().replace("min_cell: 5", "min_cell: 20"))
        done = sweep("check", study, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "Candidate index dates  11,627" in done.stdout
        assert "excluded: lost before the horizon  ≤20" in done.stdout
        assert "cardiovascular disease before the index  hidden" in done.stdout
        assert "fewer than 200 test events" in done.stdout
        assert list(tmp_path.iterdir()) == [study]

    def test_a_reason_is_shown_as_it_was_written(self, tmp_path: Path) -> None:
        out, reasons = io.StringIO(), ("prior gout [/mmol]", "urate above 7 [mg/dL]")
        counts = cohort_counts()
        for written, reason in zip([key for key in counts if key.startswith("excluded")], reasons, strict=True):
            counts = {f"excluded: {reason}" if key == written else key: n for key, n in counts.items()}
        view = CohortView(load_study_cohort(write_study(tmp_path)), shown_counts(counts, min_cell=5), 9, (), ())
        show_cohort(Terminal(file=out, width=20), view)
        assert all(f"── excluded: {reason}  " in out.getvalue() for reason in reasons)

    def test_any_yaml_with_a_cohort_will_do(self, crowd: Path) -> None:
        done = sweep("check", meds_file(crowd), "--json", cwd=crowd)
        facts = json.loads(done.stdout)
        assert done.returncode == 0
        assert facts["counts"]["n_candidates"] == facts["counts"]["n_examples"] == 240
        assert (
            sum(facts["counts"][f"{split}_n_events"] for split in ("train", "tuning", "held_out"))
            == (facts["counts"]["n_events"])
        )
        assert facts["n_features"] == 3
        assert facts["problems"] == []

    def test_a_leak_shows_the_flow_and_is_refused(self, tmp_path: Path) -> None:
        folder = write_crowd(tmp_path / "meds")
        rows = pq.read_table(folder / "data" / "0.parquet").to_pandas()
        labels = pq.read_table(folder / TASK).to_pandas()
        is_case = rows["subject_id"].isin(labels.loc[labels["boolean_value"], "subject_id"])
        rows.loc[is_case & (rows["code"] == "LAB//CRP"), "numeric_value"] = 99
        rows.to_parquet(folder / "data" / "0.parquet")
        done = sweep("check", meds_file(tmp_path), cwd=tmp_path)
        assert "Eligible: one example each  240" in done.stdout
        assert len(refused(done)) == 1
        assert "feature LAB//CRP: alone ranks the outcome" in done.stderr

    def test_every_fault_of_the_data_is_in_the_facts(self, tmp_path: Path) -> None:
        folder = write_crowd(tmp_path / "meds")
        write_labels(folder, [(1, "2010-01-01", True), (1, "2010-01-01", True), (1, "1800-01-01", True)])
        done = sweep("check", meds_file(tmp_path), "--json", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (2, "")
        facts = json.loads(done.stdout)
        assert [problem["what"][:8] for problem in facts["problems"]] == ["1 labels", "1 labels"]
        assert facts["counts"] == {}

    def test_another_digest_is_told_in_full(self, tmp_path: Path) -> None:
        write_crowd(tmp_path / "meds")
        done = sweep("check", meds_file(tmp_path, sha256="f" * 64), cwd=tmp_path)
        assert digest_of_place(tmp_path / "meds") in refused(done)[0]
        assert "Eligible" in done.stdout

    def test_every_fault_of_the_file_is_one_line_with_its_number(self, tmp_path: Path) -> None:
        file = tmp_path / "cohort.yaml"
        file.write_text("title: x\ncohort:\n  source: meds\n  labels: ''\n  min_cell: -1\n  folder: x\n  colour: red\n")
        with pytest.raises(InputError) as caught:
            load_study_cohort(file)
        assert [problem.line for problem in caught.value.problems] == [2, 2, 4, 5, 7]

    def test_a_file_without_a_cohort_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "x.yaml"
        file.write_text("study: x\n")
        with pytest.raises(InputError, match="cohort: is missing"):
            load_study_cohort(file)

    def test_a_folder_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        cohort = load_study_cohort(meds_file(tmp_path, sha256="f" * 64))
        with pytest.raises(InputError, match="does not exist"):
            check_study_cohort(cohort)


@pytest.fixture(scope="module")
def trial(crowd: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[StoreLayout, TrialSpec]:
    """A store with one committed trial, age and sex, on the MEDS crowd."""
    recipe = recipe_of(crowd / "meds")
    spec = comparator_spec(Method.AGE_SEX, cohort=recipe)
    store = tmp_path_factory.mktemp("predictions") / "store"
    order = WorkOrder(
        trial=Trial(spec=spec, coordinates={}), store=str(store), sources={recipe.sha256: str(crowd / "meds")}
    )
    for _ in Runner(n_threads=1).run(order):
        pass
    return StoreLayout(store), spec


@pytest.fixture(scope="module")
def written(trial: tuple[StoreLayout, TrialSpec], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trial's predictions as the command writes them."""
    layout, spec = trial
    out = tmp_path_factory.mktemp("written") / "predictions.parquet"
    done = sweep("predictions", layout.root, "--trial", spec.trial_id, "--out", out, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    assert "controls were sampled" in done.stdout
    return out


class TestPredictions:
    def test_columns_are_those_of_meds_evaluation(self, written: Path) -> None:
        schema = pq.read_schema(written)
        assert dict(zip(schema.names, schema.types, strict=True)) == COLUMNS
        assert schema.metadata[b"synthetic"] == b"false"

    def test_the_meds_package_takes_them_for_labels(self, written: Path) -> None:
        meds = pytest.importorskip("meds")
        meds.LabelSchema.validate(pq.read_table(written, columns=list(COLUMNS)[:3]))

    def test_the_file_is_private_and_alone(self, written: Path) -> None:
        assert stat.S_IMODE(written.stat().st_mode) == 0o600
        assert list(written.parent.iterdir()) == [written]

    def test_every_prediction_finds_its_participant_again(self, written: Path, crowd: Path) -> None:
        table = pq.read_table(written).to_pandas()
        labels = pq.read_table(crowd / "meds" / TASK).to_pandas()
        both = table.merge(labels, on=["subject_id", "prediction_time"], validate="one_to_one")
        assert len(both) == len(table) > 20
        assert (both["boolean_value_x"] == both["boolean_value_y"]).all()
        # Age drives the risk, so an order that was lost on the way would show.
        births = pq.read_table(crowd / "meds" / "data" / "0.parquet").to_pandas()
        births = births[births["code"] == "MEDS_BIRTH"].set_index("subject_id")["time"]
        ages = (table["prediction_time"] - births.reindex(table["subject_id"]).to_numpy()).dt.days
        assert ages.corr(table["predicted_boolean_probability"], method="spearman") > 0.8

    def test_probabilities_are_shifted_to_the_natural_prevalence(
        self, trial: tuple[StoreLayout, TrialSpec], written: Path
    ) -> None:
        layout, spec = trial
        outcome = Outcome.load(layout.outcome(spec.trial_id))
        table = pq.read_table(written).to_pandas()
        raw = pd.read_parquet(layout.trial(spec.trial_id) / outcome.attempt / "predictions.parquet")
        raw_risks = raw.loc[raw["split"] == "held_out", "p_strict"]
        odds = [p / (1 - p) for p in (outcome.natural_prevalence, outcome.train_prevalence)]
        expected = 1 / (1 + (1 - raw_risks) / raw_risks * odds[1] / odds[0])
        risks = table["predicted_boolean_probability"]
        assert sorted(risks) == pytest.approx(sorted(expected), rel=1e-5)
        assert (table["predicted_boolean_value"] == (risks >= 0.5)).all()

    def test_a_git_work_tree_is_refused(self, trial: tuple[StoreLayout, TrialSpec], tmp_path: Path) -> None:
        layout, spec = trial
        (tmp_path / ".git").mkdir()
        (tmp_path / "deep").mkdir()
        out = tmp_path / "deep" / "predictions.parquet"
        lines = refused(sweep("predictions", layout.root, "--trial", spec.trial_id, "--out", out, cwd=tmp_path))
        assert "git work tree" in lines[0]
        assert not out.exists()

    def test_nothing_is_overwritten(self, trial: tuple[StoreLayout, TrialSpec], tmp_path: Path) -> None:
        layout, spec = trial
        out = tmp_path / "mine.parquet"
        out.write_text("mine")
        with pytest.raises(InputError, match="exists"):
            evaluation.write_predictions(PredictionsOrder(store=str(layout.root), trial_id=spec.trial_id, out=out))
        assert out.read_text() == "mine"

    def test_a_store_with_another_salt_is_refused(self, trial: tuple[StoreLayout, TrialSpec], tmp_path: Path) -> None:
        layout = StoreLayout(Path(shutil.copytree(trial[0].root, tmp_path / "store")))
        layout.salt.write_bytes(b"another")
        with pytest.raises(StoreError, match="belong to no label"):
            evaluation.write_predictions(
                PredictionsOrder(store=str(layout.root), trial_id=trial[1].trial_id, out=tmp_path / "x.parquet")
            )

    @pytest.mark.parametrize("trial_id", ["0" * 16, "../../etc"])
    def test_a_trial_that_is_not_there_is_refused(
        self, trial: tuple[StoreLayout, TrialSpec], tmp_path: Path, trial_id: str
    ) -> None:
        out = tmp_path / "predictions.parquet"
        refused(sweep("predictions", trial[0].root, "--trial", trial_id, "--out", out, cwd=tmp_path))
