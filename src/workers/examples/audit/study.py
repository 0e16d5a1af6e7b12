"""The automatic audit of all rationales of a study: shares and means a supervision, never a text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import compress
from pathlib import Path

import pandas as pd

from workers.contract.answers.audit import AuditFindings, AuditOrder, Measure, RationaleAudit, Tally
from workers.contract.inputs import InputKind, input_recipes, wanted_rationales
from workers.contract.layout import StoreLayout
from workers.contract.recipes.teaching import Supervision
from workers.contract.system.opening import open_store
from workers.contract.trial import TrialSpec
from workers.examples.audit.claims import ClaimKind
from workers.examples.audit.grounding import Grounding, ground
from workers.examples.audit.style import style_of
from workers.examples.audit.words import Vocabulary, vocabulary_of
from workers.examples.cases import RATIONALE_SUPERVISIONS, read_cases
from workers.examples.facts import Case
from workers.examples.prompts import read_lexicon
from workers.store.published import LABELS, TEXTS, verified_folder


@dataclass(frozen=True)
class Written:
    """All rationales of one supervision and teacher, in the order of the label rows.

    labels: the label rows that have one; cases and texts: theirs.
    """

    supervision: Supervision
    teacher: str
    label_access: str
    vocabulary: Vocabulary
    labels: pd.DataFrame
    cases: tuple[Case, ...]
    texts: tuple[str, ...]


def audit_study(order: AuditOrder) -> AuditFindings:
    """Audit the rationales of every teacher and supervision of an order.

    Raises:
        StoreError: They are not prepared, or damaged.
    """
    layout = open_store(Path(order.store))
    return AuditFindings(audits=tuple(map(audit, read_written(order.specs, layout))))


def read_written(specs: Sequence[TrialSpec], layout: StoreLayout) -> list[Written]:
    """The prepared rationales of these trials' teachers, one element a teacher and supervision, in their order.

    What one teacher wrote for several trials is put together; a supervision that it was not asked for is left out.

    Raises:
        StoreError: They are not prepared, or damaged.
    """
    by_teacher: dict[str, list[TrialSpec]] = {}
    for spec in specs:
        if spec.teacher is None:
            raise ValueError("a trial without a teacher has no rationales")
        by_teacher.setdefault(spec.teacher.digest(), []).append(spec)
    return [written for of_one in by_teacher.values() for written in _read_teacher(of_one, layout)]


def _read_teacher(specs: Sequence[TrialSpec], layout: StoreLayout) -> Iterator[Written]:
    first, asked = specs[0], {kind for spec in specs for kind in _asked(spec)}
    cohort = verified_folder(input_recipes(first)[InputKind.COHORT], layout)
    folders = (verified_folder(input_recipes(spec)[InputKind.RATIONALES], layout) for spec in specs)
    texts = reduce(
        lambda one, other: one.where(one != "", other), (pd.read_parquet(place / TEXTS) for place in folders)
    )
    labels, lexicon = pd.read_parquet(cohort / LABELS), read_lexicon(cohort)
    vocabulary = vocabulary_of(lexicon)
    has_any = (texts != "").any(axis=1).to_numpy()
    cases, _ = read_cases(cohort, labels, lexicon, is_wanted=has_any.tolist())
    for supervision in RATIONALE_SUPERVISIONS:
        if supervision in asked and first.teacher is not None:
            has_text = texts[supervision].ne("").to_numpy()
            yield Written(
                supervision=supervision,
                teacher=first.teacher.digest(),
                label_access=first.teacher.label_access,
                vocabulary=vocabulary,
                labels=labels[has_text].reset_index(drop=True),
                cases=tuple(compress(cases, has_text[has_any])),
                texts=tuple(texts.loc[has_text, supervision]),
            )


def _asked(spec: TrialSpec) -> Sequence[Supervision]:
    wanted = wanted_rationales(spec)
    return RATIONALE_SUPERVISIONS if wanted is None else (wanted.supervision,)


def audit(written: Written) -> RationaleAudit:
    """Judge every rationale and add up."""
    pairs = zip(written.texts, written.cases, strict=True)
    groundings = [ground(text, case.facts, vocabulary=written.vocabulary) for text, case in pairs]
    style = style_of(written.texts, n_sentences=[len(grounding.reading.sentences) for grounding in groundings])
    subjects = written.labels["subject_id"]
    counted = [
        _counts(grounding, has_event=case.has_event, is_repeated=is_repeated)
        for grounding, case, is_repeated in zip(groundings, written.cases, style.is_repeated, strict=True)
    ]
    return RationaleAudit(
        supervision=written.supervision,
        teacher=written.teacher,
        label_access=written.label_access,
        n_rationales=len(written.texts),
        n_participants=int(subjects.nunique()),
        tallies={measure: _tally([counts[measure] for counts in counted], subjects) for measure in Measure},
        claims=_claims(groundings),
        words=style.words,
        words_per_sentence=style.words_per_sentence,
        self_bleu=style.self_bleu,
    )


def _counts(grounding: Grounding, *, has_event: bool, is_repeated: bool) -> dict[Measure, tuple[int, int]]:
    """How many of how many in one rationale."""
    reading, judged = grounding.reading, grounding.judged
    n_facts = len(judged)
    directions = [one.is_right_direction for one in judged if one.is_right_direction is not None]
    n_claims = n_facts + reading.n_knowledge + reading.n_inference + reading.n_vague
    return {
        Measure.SUPPORTED: (grounding.n_supported, n_facts),
        Measure.FABRICATED: (sum(one.is_fabricated for one in judged), n_facts),
        Measure.CONTRADICTED: (sum(one.is_contradicted for one in judged), n_facts),
        Measure.WRONG_VALUE: (
            sum(one.has_wrong_value for one in judged),
            sum(one.claim.value is not None for one in judged),
        ),
        Measure.WRONG_TIME: (
            sum(one.has_wrong_time for one in judged),
            sum(one.claim.has_time for one in judged),
        ),
        Measure.RIGHT_DIRECTION: (sum(directions), len(directions)),
        Measure.OMITTED: (grounding.n_omitted, grounding.n_strongest),
        Measure.VAGUE: (reading.n_vague, n_claims),
        Measure.CONSISTENT: (int(reading.judgement == has_event), int(reading.judgement is not None)),
        Measure.LEAKING: (int(reading.n_leaks > 0), 1),
        Measure.REPEATED: (int(is_repeated), 1),
    }


def _tally(counts: Sequence[tuple[int, int]], subjects: "pd.Series[str]") -> Tally:
    frame = pd.DataFrame(counts, columns=["n", "total"], dtype="int64").assign(subject=subjects)
    return Tally(
        n=int(frame["n"].sum()),
        total=int(frame["total"].sum()),
        n_participants=int(frame.loc[frame["n"] > 0, "subject"].nunique()),
        n_other_participants=int(frame.loc[frame["n"] < frame["total"], "subject"].nunique()),
    )


def _claims(groundings: Sequence[Grounding]) -> dict[str, int]:
    return {
        ClaimKind.FACT.value: sum(len(grounding.judged) for grounding in groundings),
        ClaimKind.KNOWLEDGE.value: sum(grounding.reading.n_knowledge for grounding in groundings),
        ClaimKind.INFERENCE.value: sum(grounding.reading.n_inference for grounding in groundings),
        ClaimKind.VAGUE.value: sum(grounding.reading.n_vague for grounding in groundings),
    }
