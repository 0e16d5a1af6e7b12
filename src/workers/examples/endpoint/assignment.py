"""What a language model is asked as a teacher: whom it writes for, and which of its texts stay, with figures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from workers.cohort.splits import balanced_train_rows, largest_balanced_size
from workers.contract.inputs import Counts
from workers.contract.recipes.teaching import LanguageTeacherRecipe, WantedRationales
from workers.examples.audit.words import Vocabulary, vocabulary_of
from workers.examples.cases import RATIONALE_SUPERVISIONS, read_cases
from workers.examples.endpoint.teacher import Asked, Question
from workers.examples.prompts import read_lexicon
from workers.store.published import LABELS, TEXTS

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Assignment:
    """Every rationale that is to be written; rows: of the labels, one for each question."""

    recipe: LanguageTeacherRecipe
    labels: pd.DataFrame
    rows: IntArray
    questions: tuple[Question, ...]
    vocabulary: Vocabulary
    themes: tuple[str, ...]

    @classmethod
    def of(cls, cohort: Path, prompts: Path, recipe: LanguageTeacherRecipe, *, wanted: WantedRationales | None) -> Self:
        """Written are train rows and, by a blind teacher, tuning rows; of these what is wanted.

        Args:
            prompts: The prepared prompts; the teacher reads what the student reads.
            wanted: Whose are used; null is everybody's, in every supervision.
        """
        labels = pd.read_parquet(cohort / LABELS).reset_index(drop=True)
        lexicon = read_lexicon(cohort)
        is_blind = recipe.label_access == "blind"
        rows = _all_rows(labels, is_blind=is_blind) if wanted is None else _rows(labels, wanted, is_blind=is_blind)
        kinds = RATIONALE_SUPERVISIONS if wanted is None else (wanted.supervision,)
        is_wanted = np.isin(np.arange(len(labels)), rows)
        cases, knowledge = read_cases(cohort, labels, lexicon, is_wanted=is_wanted.tolist())
        records = pd.read_parquet(prompts / TEXTS)["prompt"][is_wanted]
        questions = tuple(
            Question(case, kind, record) for case, record in zip(cases, records, strict=True) for kind in kinds
        )
        repeated: IntArray = np.repeat(rows, len(kinds))
        return cls(recipe, labels, repeated, questions, vocabulary_of(lexicon), knowledge.themes)

    def settled(self, written: Sequence[Asked]) -> tuple[pd.DataFrame, Counts]:
        """One rationale a label row and supervision, empty where none may be or could be written; and figures.

        A filtered teacher's rationale is kept where its own answer is the label; an ungrounded one by the recipe's
        rule, and where regenerating did not help the best is kept.
        """
        is_filtered = self.recipe.label_access == "filtered"
        ledger = _ledger(self.questions, written, self.recipe)
        texts = pd.DataFrame("", index=self.labels.index, columns=[str(kind) for kind in RATIONALE_SUPERVISIONS])
        for kind, part in ledger.groupby("supervision"):
            texts.loc[self.rows[part.index], kind] = part["text"].to_numpy()
        is_train = self.labels["split"].eq("train").to_numpy()[self.rows]
        counts: Counts = {"teacher": self.recipe.digest(), "n_written": int((texts != "").any(axis=1).sum())}
        counts |= _counts(ledger, written) | _selection(ledger[is_train], is_filtered=is_filtered)
        return texts, counts | {f"n_distinct {name}": int(texts[name].nunique()) for name in texts}


def _all_rows(labels: pd.DataFrame, *, is_blind: bool) -> IntArray:
    return np.flatnonzero(labels["split"].isin(("train", "tuning") if is_blind else ("train",)))


def _rows(labels: pd.DataFrame, wanted: WantedRationales, *, is_blind: bool) -> IntArray:
    """Those that are trained on or shown and, where a blind teacher wrote for them, those that are probed."""
    salt, is_train = wanted.split_salt, labels["split"] == "train"
    train = np.flatnonzero(is_train)
    if wanted.train_size is not None:
        train = balanced_train_rows(labels, size=wanted.train_size, salt=salt, draw=wanted.training_draw)
    if not (is_blind and wanted.n_probe):
        return train
    tuning = labels[labels["split"] == "tuning"].assign(split="train")  # in the hash order of the training rows
    size = min(wanted.n_probe, largest_balanced_size(tuning))
    return np.sort(np.concatenate([train, balanced_train_rows(tuning, size=size, salt=salt)]))


def _ledger(questions: Sequence[Question], written: Sequence[Asked], recipe: LanguageTeacherRecipe) -> pd.DataFrame:
    """One row a question: its label, what the answer was worth, and the text that stays."""
    drafts = [one.draft for one in written]
    ledger = pd.DataFrame(
        {
            "supervision": [str(question.supervision) for question in questions],
            "has_event": [question.case.has_event for question in questions],
            "text": [draft.text if draft else "" for draft in drafts],
            "is_valid": [draft is not None for draft in drafts],
            "says_event": [bool(draft and draft.says_event) for draft in drafts],
            "is_grounded": [bool(draft and draft.is_grounded) for draft in drafts],
        }
    ).astype({"text": object, "supervision": object})
    ledger["agrees"] = ledger["is_valid"] & (ledger["says_event"] == ledger["has_event"])
    is_wanted = ledger["agrees"] if recipe.label_access == "filtered" else ledger["is_valid"]
    ledger["is_ungrounded"] = is_wanted & ~ledger["is_grounded"]
    ledger["is_dropped"] = ledger["is_ungrounded"] & (recipe.ungrounded == "drop")
    ledger.loc[~is_wanted | ledger["is_dropped"], "text"] = ""
    return ledger


def _counts(ledger: pd.DataFrame, written: Sequence[Asked]) -> Counts:
    """What was asked and what it cost, in rationales, requests and tokens.

    Tokens are those of every answer that was read, cached ones with what they cost when they were asked; invalid
    answers of an earlier, interrupted run are in no count. n_ungrounded: in the end, whether kept or dropped.
    """
    costs = sum((one.costs for one in written), Counter[str]())
    return {
        "n_requested": len(ledger),
        "n_from_cache": sum(one.draft is not None and one.n_sent == 0 for one in written),
        "n_sent": sum(one.n_sent for one in written),
        "n_invalid": int((~ledger["is_valid"]).sum()),
        "n_regenerated": sum(one.n_regenerated for one in written),
        "n_ungrounded": int(ledger["is_ungrounded"].sum()),
        "n_dropped": int(ledger["is_dropped"].sum()),
        **{name: costs[name] for name in ("n_schema_enforced", "prompt_tokens", "completion_tokens")},
    }


def _selection(train: pd.DataFrame, *, is_filtered: bool) -> Counts:
    """By class of the train rows, how often the teacher's answer was the label and, filtered, what that left."""
    counts: Counts = {}
    for name, has_event in (("events", True), ("controls", False)):
        of_class = train[train["has_event"] == has_event]
        counts[f"train_{name}_agreement"] = float(of_class["agrees"].sum() / max(1, of_class["is_valid"].sum()))
        if is_filtered:
            n_kept = int((of_class["text"] != "").sum())
            counts |= {f"n_kept_{name}": n_kept, f"n_empty_{name}": len(of_class) - n_kept}
    return counts
