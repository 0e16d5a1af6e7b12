"""The shipped mapping of SUPPORT: who is in, what is no input, and figures as another program would give them."""

import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from orchestrator.study.cohort import StudyCohort, load_study_cohort
from support.places import SUPPORT2, SWEEPS
from workers.cohort.cohort import Cohort
from workers.cohort.splits import split_of
from workers.cohort.tables.read import read_table
from workers.contract.recipes.cohorts import DEFAULT_SALT, TableCohort
from workers.contract.trial import Method
from workers.scoring.classical.baselines import columns_of, fit_baseline, predict_risk

MEASURED = ["scoma", "meanbp", "hrt", "resp", "pafi", "alb", "bili", "crea", "sod", "num.co", "adlsc"]
HALF_A_YEAR = 180


@pytest.fixture(scope="module")
def study() -> StudyCohort:
    return load_study_cohort(SWEEPS / "support2.yaml")


@pytest.fixture(scope="module")
def recipe(study: StudyCohort) -> TableCohort:
    assert isinstance(study.recipe, TableCohort)
    return study.recipe


@pytest.fixture(scope="module")
def cohort(recipe: TableCohort) -> Cohort:
    return read_table(SUPPORT2, recipe)


@pytest.fixture(scope="module")
def patients() -> pd.DataFrame:
    """The raw file with the outcome and its split, by none of our code but the hash of the split."""
    table = pd.read_csv(SUPPORT2)
    died = (table["death"] == 1) & (table["d.time"] <= HALF_A_YEAR)
    assert ((table["death"] == 1) | (table["d.time"] >= HALF_A_YEAR)).all()  # nobody is lost
    return table.assign(died=died, split=[split_of(str(n), salt=DEFAULT_SALT) for n in table["sno"]])


def test_everybody_is_in_and_counts_are_those_of_the_file(cohort: Cohort, patients: pd.DataFrame) -> None:
    ours = cohort.labels.groupby("split")["boolean_value"].agg(["size", "sum"])
    theirs = patients.groupby("split")["died"].agg(["size", "sum"])
    assert ours.loc[theirs.index].to_numpy().tolist() == theirs.to_numpy().tolist()
    assert ours.loc["held_out", "sum"] == 816
    assert set(cohort.flow.excluded.values()) == {0}


def test_logistic_regression_is_that_of_a_plain_pipeline_on_the_raw_file(
    cohort: Cohort, recipe: TableCohort, patients: pd.DataFrame
) -> None:
    features, labels = cohort.features(cohort.records()), cohort.labels
    train, held_out = ((labels["split"] == split).to_numpy() for split in ("train", "held_out"))
    outcomes = labels["boolean_value"].to_numpy().astype("int64")
    seen = features.only(columns_of(Method.LOGISTIC, recipe, features[train]))
    risks = predict_risk(fit_baseline(Method.LOGISTIC, seen[train], outcomes[train]), seen[held_out])
    inputs = pd.get_dummies(patients[["age", "sex", "dzgroup", "ca", *MEASURED]], columns=["sex", "dzgroup", "ca"])
    inputs = inputs.drop(columns="sex_female").astype("float64")
    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True), StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)
    )
    fitted, tested = (patients["split"] == split for split in ("train", "held_out"))
    model.fit(inputs[fitted], patients.loc[fitted, "died"])
    expected = roc_auc_score(patients.loc[tested, "died"], model.predict_proba(inputs[tested])[:, 1])
    assert roc_auc_score(outcomes[held_out], risks) == pytest.approx(expected, abs=5e-4)
    assert 0.72 < expected < 0.78


@pytest.mark.parametrize("column", ["hospdead", "slos", "surv6m", "sfdm2"])
def test_what_became_known_later_is_no_input(column: str, recipe: TableCohort) -> None:
    mapping = recipe.mapping.model_dump(exclude_defaults=True)
    with pytest.raises(ValueError, match="tell the outcome"):
        recipe.model_validate(recipe.model_dump() | {"mapping": mapping | {"inputs": [{"column": column}]}})


def test_both_studies_have_the_same_cohort(study: StudyCohort) -> None:
    assert load_study_cohort(SWEEPS / "support2-smollm2.yaml") == study
