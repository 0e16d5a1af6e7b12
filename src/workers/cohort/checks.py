"""Leak checks of any cohort: what would let a model know the answer, and what would make its scores worth little.

A problem refuses the cohort, a warning does not. Counts, codes and AUCs only. About a second for 42,566 people with
40 recorded codes each, `records()` aside.
Source: protocol, sections 3.2 and 4.2.
"""

from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from workers.cohort.cohort import SPLITS, Cohort
from workers.cohort.features import Features
from workers.cohort.lexicon import AGE
from workers.contract.errors import Problem

# Nothing that is known before the index ranks so well alone; what does is the outcome by another name.
# Source: protocol, section 3.2.
TELLING_AUC = 0.9
# Standard errors of a Mann-Whitney AUC without signal; with fewer, a rare code ranks perfectly by chance. Ours.
BEYOND_CHANCE = 4.0
# Events in held_out. Source: protocol, section 3.2: ask for 200, warn below 100.
ENOUGH_TEST_EVENTS, FEW_TEST_EVENTS = 200, 100
# The largest `min_cell` of any data set's rules: a smaller count is not spelled out in a warning. Protocol, section 8.
SMALL_CELL = 20
# A history with so many measured values is nobody else's; measured is a code with more values than a scale has. Where a
# larger share than this is somebody else's, people stand under several ids. Ours.
RICH, MANY_VALUES, MANY_TWINS, TWINS_BEYOND_CHANCE = 5, 10, 0.05, 5.0
# Years: above the oldest age on record.
OLDEST = 125
# A clock that runs a second late is no leak: `records()` counts years in floating point.
LATE_YEARS = -1e-9

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CohortCheck:
    """What the checks found; `n_features` is what classical models see of each participant."""

    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    n_features: int


def check_cohort(cohort: Cohort) -> CohortCheck:
    """Look for leaks in a cohort's labels, records and features."""
    records = None if cohort.lexicon is None else cohort.records()
    features = cohort.features(records)
    is_train = (cohort.labels["split"] == "train").to_numpy()
    outcomes = cohort.labels["boolean_value"].to_numpy(dtype=np.bool_, na_value=False)
    telling = telling_features(features[is_train], outcomes[is_train])
    kept = {code: auc for code, auc in telling.items() if _stems(code) & cohort.vouched}
    problems = [
        *label_problems(cohort.labels),
        *_forbidden_problems({*cohort.events["code"].unique(), *features.codes}, cohort.forbidden),
        *([] if records is None else _late_problems(records)),
        *_age_problems(cohort.events),
        *_vouched_problems(features.codes, cohort.vouched),
        *(_telling_problem(code, auc) for code, auc in telling.items() if code != AGE and code not in kept),
    ]
    warnings = [*cohort.warnings, *_size_warnings(cohort.labels)]
    warnings += [f"{_alone(code, auc)}: kept, as `known_at_index` says" for code, auc in kept.items() if code != AGE]
    if AGE in telling:
        warnings.append(f"age alone ranks with an AUC of {telling[AGE]:.2f} on train: narrow the range of ages")
    lines = features.lines() if records is None else records
    repeated = repeated_histories(cohort.labels, history_hashes(lines, n_rows=len(cohort.labels)))
    if n_repeated := int(repeated.sum()):
        warnings.append(f"{_shown(n_repeated)} histories outside train stand in train too, word for word")
    problems += _twin_problems(int((repeated & is_rich(lines, n_rows=len(repeated))).sum()), n=int((~is_train).sum()))
    if repeats_static_values(cohort):
        warnings.append("what never changes of a participant stands under other ids too: see that each has one id")
    return CohortCheck(problems=tuple(problems), warnings=tuple(warnings), n_features=len(features.codes))


def label_problems(labels: pd.DataFrame) -> Iterator[Problem]:
    """What is wrong with the labels and splits of a cohort, whoever made it."""
    is_repeated = labels.duplicated(["subject_id", "prediction_time"])
    is_shared = labels.groupby("subject_id")["split"].nunique() > 1
    is_unknown, is_wrong = ~labels["split"].isin(SPLITS), ~labels["boolean_value"].isin([0, 1])
    for flags, what, remedy in (
        (is_repeated, "index dates of a participant stand twice", "keep one row an index date"),
        (is_shared, "participants are in more than one split", "split by participant"),
        (is_unknown, f"rows are in no split of {', '.join(SPLITS)}", "give each row one of them"),
        (is_wrong, "labels are neither 0 nor 1", "a binary outcome needs exactly these two values"),
    ):
        if flags.any():
            yield Problem("cohort: labels", f"{flags.sum()} {what}", remedy)
    if not is_wrong.any():
        yield from _one_sided(labels)


def _one_sided(labels: pd.DataFrame) -> Iterator[Problem]:
    """The first of what lacks a class: nothing is learnt without both in train, nor shown without both in held_out."""
    if labels.empty:
        yield Problem("cohort: labels", "nobody is left", "see in the flow who is excluded, and why")
        return
    for split, purpose in (("", "told apart"), ("train", "learnt"), ("held_out", "shown")):
        outcomes = labels.loc[labels["split"] == split, "boolean_value"] if split else labels["boolean_value"]
        lacking = [name for name, value in (("event", 1), ("control", 0)) if not (outcomes == value).any()]
        if lacking:
            what = f"{split or 'the cohort'} holds no {' and no '.join(lacking)}, so nothing can be {purpose}"
            yield Problem("cohort: labels", what, "find more participants, or mend outcome, horizon or splits")
            return


def telling_features(features: Features, outcomes: BoolArray) -> dict[str, float]:
    """AUC of each feature that alone ranks the outcome beyond `TELLING_AUC`, either way round.

    A feature is looked at twice: the order of its recorded values, and whether it is recorded at all.

    Args:
        features: Of the train split.
        outcomes: What happened, shape (n_examples,).

    Source:
        AUC as the Mann-Whitney statistic with midranks; its variance without signal, (n1 + n0 + 1) / (12 n1 n0).
    """
    n_cases = int(outcomes.sum())
    n_controls = len(outcomes) - n_cases
    if not n_cases or not n_controls or not features.codes:
        return {}
    lines = features.lines()
    is_case, columns = outcomes[lines["row"]], lines["code"].to_numpy()
    cases = np.bincount(columns, weights=is_case, minlength=len(features.codes))
    controls = features.n_recorded - cases
    ranks = lines.groupby("code")["value"].rank().to_numpy()
    rank_sums = np.bincount(columns, weights=ranks * is_case, minlength=len(features.codes))
    with np.errstate(invalid="ignore", divide="ignore"):
        by_value = (rank_sums - cases * (cases + 1) / 2) / (cases * controls)
    by_presence = (1 + cases / n_cases - controls / n_controls) / 2
    found: dict[str, float] = {}
    views = ((by_value, cases, controls), (by_presence, np.full_like(cases, n_cases), np.full_like(cases, n_controls)))
    for aucs, n1, n0 in views:
        strongest = np.maximum(aucs, 1 - aucs)
        with np.errstate(divide="ignore"):
            error = np.sqrt((n1 + n0 + 1) / (12.0 * n1 * n0))
            is_telling = (strongest > TELLING_AUC) & (strongest - 0.5 > BEYOND_CHANCE * error)
        for column in np.flatnonzero(is_telling):
            code = features.codes[column]
            found[code] = max(found.get(code, 0.0), float(strongest[column]))
    return found


def history_hashes(lines: pd.DataFrame, *, n_rows: int) -> npt.NDArray[np.uint64]:
    """A hash of all that is known of each label row, shape (n_rows,); equal histories have equal hashes.

    Args:
        lines: Column `row`, and what is known of a code there.
    """
    each = np.asarray(pd.util.hash_pandas_object(lines.drop(columns="row"), index=False), dtype=np.uint64)
    hashes = np.zeros(n_rows, dtype=np.uint64)
    np.add.at(hashes, lines["row"].to_numpy(), each)  # a sum, for the order of codes says nothing
    return hashes


def repeated_histories(labels: pd.DataFrame, hashes: npt.NDArray[np.uint64]) -> BoolArray:
    """Which rows of tuning and held_out have a whole history that some train row has too; shape (n_rows,)."""
    is_train = (labels["split"] == "train").to_numpy()
    return ~is_train & np.isin(hashes, hashes[is_train])


def is_rich(lines: pd.DataFrame, *, n_rows: int) -> BoolArray:
    """Which label rows hold so many measured values that no two people share them all; shape (n_rows,).

    Args:
        lines: Columns row, code and value of what is known of each row.
    """
    n_values = lines.groupby("code")["value"].nunique()
    is_measured = lines["code"].isin(n_values.index[n_values > MANY_VALUES]) & lines["value"].notna()
    return np.bincount(lines.loc[is_measured, "row"], minlength=n_rows) >= RICH


def repeats_static_values(cohort: Cohort) -> bool:
    """Whether what never changes of participants stands under other ids far more often than it would by chance.

    By chance two people share a value of a code as often as its shares have it, codes apart.
    """
    subjects = pd.Index(cohort.labels["subject_id"].unique())
    static = cohort.events.loc[cohort.events["time"].isna(), ["subject_id", "code", "numeric_value"]]
    static = static.fillna({"numeric_value": 1.0}).assign(row=subjects.get_indexer(static["subject_id"]))
    static = static[static["row"] >= 0].drop_duplicates(["row", "code"]).drop(columns="subject_id")
    if static.empty:
        return False
    shares = static.groupby(["code", "numeric_value"]).size() / len(subjects)
    without = 1 - shares.groupby("code").sum()
    alike = np.prod((shares**2).groupby("code").sum().to_numpy() + without.to_numpy() ** 2)
    by_chance = float(1 - (1 - alike) ** (len(subjects) - 1))
    found = pd.Series(history_hashes(static, n_rows=len(subjects))).duplicated(keep=False).mean()
    return bool(found > max(MANY_TWINS, TWINS_BEYOND_CHANCE * by_chance))


def _forbidden_problems(codes: Collection[str], forbidden: Collection[str]) -> Iterator[Problem]:
    leaks = sorted(set(codes) & set(forbidden))
    if leaks:
        yield Problem("cohort: inputs", f"forbidden columns {leaks} are among them", "take them out of the inputs")


def _twin_problems(n_twins: int, *, n: int) -> Iterator[Problem]:
    if n_twins > MANY_TWINS * n:
        what = f"{_shown(n_twins)} histories outside train, of {RICH} measured values or more, stand in train too"
        remedy = "give each participant one id, and take copies out"
        yield Problem("cohort: participants", f"{what}, word for word: more than {MANY_TWINS:.0%}", remedy)


def _late_problems(records: pd.DataFrame) -> Iterator[Problem]:
    late = int((records["last_years"] < LATE_YEARS).sum())
    if late:
        yield Problem("cohort: records", f"{late} events lie after the index", "keep events up to the index only")


def _stems(code: str) -> set[str]:
    """A code, and the column of which it is a category."""
    return {code, code.rpartition("=")[0]}


def _vouched_problems(codes: Collection[str], vouched: AbstractSet[str]) -> Iterator[Problem]:
    if unknown := sorted(vouched - {stem for code in codes for stem in _stems(code)}):
        yield Problem("cohort.known_at_index", f"{unknown} are no inputs", "correct or remove them")


def _alone(code: str, auc: float) -> str:
    return f"feature {code} alone ranks the outcome with an AUC of {auc:.2f} on train"


def _age_problems(events: pd.DataFrame) -> Iterator[Problem]:
    ages = events.loc[events["code"] == AGE, "numeric_value"]
    if n := int((~ages.between(0, OLDEST) & ages.notna()).sum()):
        what = f"{n} are below 0 or above {OLDEST} years"
        yield Problem("cohort: ages at the index", what, "mend them or the births; declare what stands for none")


def _telling_problem(code: str, auc: float) -> Problem:
    what = f"alone ranks the outcome with an AUC of {auc:.2f} on train, above {TELLING_AUC}"
    remedy = "forbid or remove it; if it was known at the index, name it in `cohort.known_at_index`"
    return Problem(f"cohort: feature {code}", what, remedy)


def _size_warnings(labels: pd.DataFrame) -> Iterator[str]:
    outcomes = labels["boolean_value"].astype(bool)
    n_test = int(outcomes[labels["split"] == "held_out"].sum())
    if n_test < FEW_TEST_EVENTS:
        # Hanley-McNeil: the standard error of an AUC of 0.73 is 0.029 with 100 cases. Protocol, section 3.2.
        yield f"fewer than {FEW_TEST_EVENTS} test events: an AUC is uncertain by 0.06 either way, or more; find more"
    elif n_test < ENOUGH_TEST_EVENTS:
        yield f"fewer than {ENOUGH_TEST_EVENTS} test events: expect wide intervals"


def too_large(where: str, asked: int, *, largest: int) -> Problem:
    """More label-balanced training examples are asked for than there are; how many is not told where they are few."""
    bound = f"{largest}" if largest > 2 * SMALL_CELL else f"up to {2 * SMALL_CELL}"
    what = f"{asked} is larger than the cohort allows: {bound} label-balanced training examples"
    return Problem(where, what, f"use at most {largest}" if largest > 2 * SMALL_CELL else "use fewer")


def _shown(n: int) -> str:
    return str(n) if n > SMALL_CELL else f"up to {SMALL_CELL}"
