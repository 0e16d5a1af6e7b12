"""Comparators on values: the figures of plain scikit-learn, and blind to everything but their columns."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from support.places import FRAMINGHAM
from support.studies.orders import COHORT
from workers.cohort.cohort import Cohort
from workers.cohort.features import Features
from workers.cohort.framingham import FORBIDDEN_COLUMNS, INPUT_COLUMNS, load_framingham
from workers.cohort.splits import split_of
from workers.contract.errors import InputError
from workers.contract.recipes.cohorts import CohortRecipe, SyntheticCohort
from workers.contract.trial import Method
from workers.scoring.classical.baselines import (
    AGE_AND_SEX,
    EXAM_VALUES,
    columns_of,
    fit_baseline,
    predict_risk,
)

METHODS = (Method.AGE_SEX, Method.LOGISTIC, Method.BOOSTING)
COLUMNS = {Method.AGE_SEX: AGE_AND_SEX, Method.LOGISTIC: EXAM_VALUES, Method.BOOSTING: EXAM_VALUES}
FIVE_YEARS = 1826
# The protocol's table, by five-fold cross-validation: 0.713, 0.759, 0.746; 105 events give a standard error of 0.03.
SANE_AUC = {Method.AGE_SEX: (0.65, 0.78), Method.LOGISTIC: (0.69, 0.83), Method.BOOSTING: (0.68, 0.81)}


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return load_framingham(FRAMINGHAM, COHORT)


@pytest.fixture(scope="module")
def values(cohort: Cohort) -> pd.DataFrame:
    return cohort.values_at_index()


def outcomes_of(cohort: Cohort) -> npt.NDArray[np.int64]:
    return cohort.labels["boolean_value"].to_numpy().astype(np.int64)


def seen(method: Method, values: pd.DataFrame, cohort: CohortRecipe = COHORT) -> Features:
    """What a method sees of these values."""
    features = Features.of_table(values)
    return features.only(columns_of(method, cohort, features))


def held_out_risks(method: Method, cohort: Cohort, values: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Risks of held_out, learnt on train."""
    train, held_out = ((cohort.labels["split"] == split).to_numpy() for split in ("train", "held_out"))
    inputs = seen(method, values)
    return predict_risk(fit_baseline(method, inputs[train], outcomes_of(cohort)[train]), inputs[held_out])


def held_out_auc(method: Method, cohort: Cohort, values: pd.DataFrame) -> float:
    held_out = (cohort.labels["split"] == "held_out").to_numpy()
    return float(roc_auc_score(outcomes_of(cohort)[held_out], held_out_risks(method, cohort, values)))


def plain_model(method: Method) -> Pipeline | HistGradientBoostingClassifier:
    if method is Method.BOOSTING:
        return HistGradientBoostingClassifier(max_depth=3, max_iter=100, learning_rate=0.06, min_samples_leaf=40)
    return make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True), StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)
    )


def auc_from_the_raw_file(columns: list[str], path: Path = FRAMINGHAM, *, method: Method = Method.LOGISTIC) -> float:
    """The same question asked of the CSV, with none of our code but the split."""
    exams = pd.read_csv(path)
    days = exams["TIMECVD"] - exams["TIME"]
    has_event = (exams["CVD"] == 1) & (days <= FIVE_YEARS)
    died = (exams["DEATH"] == 1) & (exams["TIMEDTH"] - exams["TIME"] <= FIVE_YEARS)
    eligible = (exams["PREVCHD"] == 0) & (exams["PREVSTRK"] == 0) & (days > 0)
    eligible &= has_event | (days >= FIVE_YEARS) | died
    split = exams["RANDID"].map(lambda subject: split_of(str(subject), salt=COHORT.split_salt))
    train, held_out = eligible & (split == "train"), eligible & (split == "held_out")
    model = plain_model(method).fit(exams.loc[train, columns], has_event[train])
    return float(roc_auc_score(has_event[held_out], model.predict_proba(exams.loc[held_out, columns])[:, 1]))


@pytest.mark.parametrize("method", METHODS)
class TestFigures:
    def test_auc_is_that_of_a_plain_pipeline_on_the_raw_file(
        self, method: Method, cohort: Cohort, values: pd.DataFrame
    ) -> None:
        expected = auc_from_the_raw_file(list(COLUMNS[method]), method=method)
        assert held_out_auc(method, cohort, values) == pytest.approx(expected, abs=1e-4)

    def test_auc_is_where_the_protocol_puts_it(self, method: Method, cohort: Cohort, values: pd.DataFrame) -> None:
        low, high = SANE_AUC[method]
        assert low < held_out_auc(method, cohort, values) < high

    def test_risks_are_probabilities_around_the_prevalence(
        self, method: Method, cohort: Cohort, values: pd.DataFrame
    ) -> None:
        risks = held_out_risks(method, cohort, values)
        assert (risks > 0).all()
        assert (risks < 1).all()
        assert risks.mean() == pytest.approx(outcomes_of(cohort).mean(), abs=0.01)


def test_more_columns_rank_better(cohort: Cohort, values: pd.DataFrame) -> None:
    assert held_out_auc(Method.LOGISTIC, cohort, values) > held_out_auc(Method.AGE_SEX, cohort, values)


@pytest.mark.parametrize("method", METHODS)
class TestBlindness:
    def test_its_columns_are_inputs_and_none_is_forbidden(self, method: Method, values: pd.DataFrame) -> None:
        assert columns_of(method, COHORT, Features.of_table(values)) == COLUMNS[method]
        assert set(COLUMNS[method]) <= set(INPUT_COLUMNS)
        assert not set(COLUMNS[method]) & set(FORBIDDEN_COLUMNS)

    @pytest.mark.parametrize("leak", FORBIDDEN_COLUMNS)
    def test_a_forbidden_column_changes_nothing(
        self, method: Method, leak: str, cohort: Cohort, values: pd.DataFrame
    ) -> None:
        leaking = values.assign(**{leak: outcomes_of(cohort)})
        assert seen(method, leaking).shape == (len(values), len(COLUMNS[method]))
        assert seen(method, leaking).table().equals(seen(method, values).table())

    def test_no_column_but_its_own_is_seen(self, method: Method, cohort: Cohort, values: pd.DataFrame) -> None:
        others = [str(column) for column in values if column not in COLUMNS[method]]
        changed = values.assign(**dict.fromkeys(others, 1.0))
        assert np.allclose(held_out_risks(method, cohort, changed), held_out_risks(method, cohort, values))

    def test_the_order_of_the_columns_does_not_matter(self, method: Method, values: pd.DataFrame) -> None:
        backwards = values[list(values.columns[::-1])]
        assert seen(method, backwards).table().equals(seen(method, values).table())

    def test_held_out_teaches_nothing(self, method: Method, cohort: Cohort, values: pd.DataFrame) -> None:
        held_out = (cohort.labels["split"] == "held_out").to_numpy()
        alone = seen(method, values[held_out].iloc[:5])
        train = (cohort.labels["split"] == "train").to_numpy()
        model = fit_baseline(method, seen(method, values[train]), outcomes_of(cohort)[train])
        assert predict_risk(model, alone) == pytest.approx(held_out_risks(method, cohort, values)[:5])


@pytest.mark.parametrize("leak", ["DEATH", "ANGINA"])
def test_a_leak_would_show(leak: str) -> None:
    """The negative control of the tests above: an outcome column does raise the AUC of a pipeline that sees it."""
    columns = list(EXAM_VALUES)
    assert auc_from_the_raw_file([*columns, leak]) > auc_from_the_raw_file(columns) + 0.01


SYNTHETIC = SyntheticCohort(source="synthetic_adrd")


# Of 400.
FIRST = np.arange(400) < 300


def names(method: Method, values: pd.DataFrame) -> tuple[str, ...]:
    """The columns that a method may see of these values."""
    return columns_of(method, SYNTHETIC, Features.of_table(values))


class TestAnyCohort:
    """A cohort with a lexicon: invented codes, one of them never recorded."""

    @pytest.fixture
    def values(self) -> pd.DataFrame:
        generator = np.random.default_rng(0)
        codes = {code: generator.normal(size=400) for code in ("SEX", "LAB//X", "AGE", "ICD//Z")}
        return pd.DataFrame({**codes, "NEVER": np.nan})

    @pytest.fixture
    def outcomes(self, values: pd.DataFrame) -> npt.NDArray[np.int64]:
        return (values["LAB//X"] > 0).to_numpy().astype(np.int64)

    @pytest.mark.parametrize("method", [Method.LOGISTIC, Method.BOOSTING])
    def test_every_recorded_code_is_seen_in_an_order_that_is_not_the_tables(
        self, method: Method, values: pd.DataFrame
    ) -> None:
        backwards = values[list(values.columns[::-1])]
        expected = ("AGE", "ICD//Z", "LAB//X", "SEX")
        assert names(method, values) == names(method, backwards) == expected

    @pytest.mark.parametrize("method", [Method.LOGISTIC, Method.BOOSTING])
    def test_a_code_that_nobody_has_is_no_obstacle(
        self, method: Method, values: pd.DataFrame, outcomes: npt.NDArray[np.int64]
    ) -> None:
        inputs = seen(method, values, SYNTHETIC)
        model = fit_baseline(method, inputs[FIRST], outcomes[FIRST])
        assert roc_auc_score(outcomes[~FIRST], predict_risk(model, inputs[~FIRST])) > 0.95

    def test_age_and_sex_are_what_there_is_of_them(self, values: pd.DataFrame) -> None:
        assert names(Method.AGE_SEX, values) == ("AGE", "SEX")
        assert names(Method.AGE_SEX, values.drop(columns="SEX")) == ("AGE",)
        with pytest.raises(InputError, match="age_sex needs AGE or SEX"):
            names(Method.AGE_SEX, values[["LAB//X"]])

    def test_prevalence_gives_everybody_the_share_of_events_it_was_fitted_on(
        self, values: pd.DataFrame, outcomes: npt.NDArray[np.int64]
    ) -> None:
        inputs = seen(Method.PREVALENCE, values, SYNTHETIC)
        assert inputs.shape == (400, 0)
        risks = predict_risk(fit_baseline(Method.PREVALENCE, inputs[FIRST], outcomes[FIRST]), inputs[~FIRST])
        assert risks == pytest.approx(outcomes[FIRST].mean())

    def test_boosting_builds_all_its_trees_however_many_rows_there_are(self) -> None:
        """scikit-learn would stop early above 10,000 rows, and hold a tenth of them back."""
        generator = np.random.default_rng(1)
        inputs = Features.of_table(pd.DataFrame(generator.normal(size=(12_000, 2)), columns=["a", "b"]))
        model = fit_baseline(Method.BOOSTING, inputs, (generator.random(12_000) < 0.5).astype(np.int64))
        assert isinstance(model, HistGradientBoostingClassifier)
        assert model.n_iter_ == 100
