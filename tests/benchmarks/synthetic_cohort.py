"""The synthetic cohort against its calibration, and what it costs: 42,566 people on one core, three seeds.

Run by hand: `OMP_NUM_THREADS=1 python tests/benchmarks/synthetic_cohort.py`. AUCs are means over three folds, not over
one held-out split, so they scatter less than those of the protocol's prototype.
"""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.cohorts.adrd_calibration import boosting_auc, informative, logistic_auc, truth_of
from workers.cohort.adrd.generate import observe
from workers.cohort.adrd.population import simulate
from workers.contract.recipes.cohorts import SyntheticCohort

SEEDS = (0, 1, 2)
KIB_PER_GIB = 2**20
# Protocol, section 5.4.
PROTOTYPE = {
    "recorded within five years, %": "2.8-3.0",
    "true onset within five years, %": "3.7-3.9",
    "death first, %": "10.4-10.8",
    "recorded code is right": "0.853",
    "onset is recorded": "0.66",
    "AUC age and sex": "0.69-0.70",
    "AUC age, sex, e4": "0.71-0.73",
    "AUC logistic, all": "0.725-0.756",
    "AUC logistic, no distractors": "",
    "AUC boosting, all": "0.721-0.745",
    "AUC oracle": "0.760-0.782",
    "AUC oracle and unobserved": "0.772-0.790",
    "AUC oracle, true onset": "0.825-0.833",
    "risk by e4 copies, %": "2.3 / 4.8 / 9.2",
    "risk by age, %": "0.7 / 1.5 / 3.0 / 5.3 / 7.9",
    "AUC prodrome, gap 0": "",
    "AUC prodrome, gap 12": "",
    "events a participant": "",
    "seconds to generate": "",
    "seconds of records and values": "",
}


def main() -> None:
    """Print the table, and the peak memory of everything together."""
    columns = [measure(seed) for seed in SEEDS]
    for name, reference in PROTOTYPE.items():
        shown = " | ".join(f"{column[name]:>26}" for column in columns)
        sys.stdout.write(f"{name:32} | {reference:26} | {shown}\n")
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_GIB
    sys.stdout.write(f"peak memory, models included: {peak_gib:.2f} GiB\n")


def measure(seed: int) -> dict[str, str]:
    """One column of the table."""
    recipe = SyntheticCohort(source="synthetic_adrd", seed=seed)
    started = time.perf_counter()
    population = simulate(recipe)
    cohort = observe(population, recipe)
    generated = time.perf_counter()
    values = cohort.features(cohort.records()).table()
    finished = time.perf_counter()
    truth, outcomes = truth_of(population), cohort.labels["boolean_value"].to_numpy()
    auc: Callable[[list[str]], str] = lambda codes: f"{logistic_auc(values[codes], outcomes):.3f}"  # noqa: E731
    return {
        "recorded within five years, %": f"{100 * truth.prevalence:.2f}",
        "true onset within five years, %": f"{100 * truth.onset_share:.2f}",
        "death first, %": f"{100 * truth.death_first_share:.1f}",
        "recorded code is right": f"{truth.positive_predictive_value:.3f}",
        "onset is recorded": f"{truth.sensitivity:.3f}",
        "AUC age and sex": auc(["AGE", "SEX"]),
        "AUC age, sex, e4": auc(["AGE", "SEX", "APOE_E4"]),
        "AUC logistic, all": auc(list(values.columns)),
        "AUC logistic, no distractors": auc(informative(values)),
        "AUC boosting, all": f"{boosting_auc(values, outcomes):.3f}",
        "AUC oracle": f"{truth.oracle_auc:.3f}",
        "AUC oracle and unobserved": f"{truth.ceiling_auc:.3f}",
        "AUC oracle, true onset": f"{truth.oracle_auc_of_onset:.3f}",
        "risk by e4 copies, %": " / ".join(f"{100 * risk:.1f}" for risk in truth.risk_by_e4),
        "risk by age, %": " / ".join(f"{100 * risk:.1f}" for risk in truth.risk_by_age),
        "AUC prodrome, gap 0": f"{prodromal_auc(seed, gap_months=0):.3f}",
        "AUC prodrome, gap 12": f"{prodromal_auc(seed, gap_months=12):.3f}",
        "events a participant": f"{len(cohort.events) / len(outcomes):.1f}",
        "seconds to generate": f"{generated - started:.1f}",
        "seconds of records and values": f"{finished - generated:.1f}",
    }


def prodromal_auc(seed: int, *, gap_months: int) -> float:
    """AUC of all features where the work-up before a diagnosis is in the records."""
    recipe = SyntheticCohort.model_validate(
        {"source": "synthetic_adrd", "seed": seed, "prodrome": True, "gap_months": gap_months}
    )
    cohort = observe(simulate(recipe), recipe)
    return logistic_auc(cohort.features(cohort.records()).table(), cohort.labels["boolean_value"].to_numpy())


if __name__ == "__main__":
    main()
