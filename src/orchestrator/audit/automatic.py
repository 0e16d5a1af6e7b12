"""The automatic audit of a study: whose rationales to ask a worker about, and what of its answer may be shown."""

from typing import TYPE_CHECKING

from orchestrator.design.grid import Design
from orchestrator.disclosure import Count, Share, is_small
from workers.contract.answers.audit import AuditFindings, Measure, RationaleAudit
from workers.contract.data_class import DataClass
from workers.contract.errors import InputError, Problem
from workers.contract.inputs import InputKind, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Record, Sealed
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import TrialSpec

if TYPE_CHECKING:
    from rich.console import Console

# What each measure is a share of, in words.
MEASURE_WORDS = {
    Measure.SUPPORTED: "facts supported by the record (grounding precision)",
    Measure.FABRICATED: "facts that are not recorded",
    Measure.CONTRADICTED: "facts that the record contradicts",
    Measure.WRONG_VALUE: "numbers that differ from the record",
    Measure.WRONG_TIME: "times after the index, or not those of the record",
    Measure.RIGHT_DIRECTION: "directions of facts as the lexicon has them",
    Measure.OMITTED: "omitted of the five strongest recorded facts",
    Measure.VAGUE: "claims that say nothing",
    Measure.CONSISTENT: "judgements that agree with the answer line",
    Measure.LEAKING: "rationales that tell the outcome",
    Measure.REPEATED: "rationales with the words of another",
}


class ShownAudit(Record):
    """One teacher's rationales of one supervision as they may be shown; null means hidden or none."""

    supervision: Supervision
    teacher: str
    label_access: str
    n_rationales: Count
    n_participants: Count
    shares: dict[Measure, Share]
    claims: dict[str, int]
    words: float | None
    words_per_sentence: float | None
    self_bleu: float | None


class StudyAudit(Sealed):
    """`audit.json`: aggregates alone, small counts hidden."""

    study: str
    is_synthetic: bool
    min_cell: int
    rows: tuple[ShownAudit, ...]

    @property
    def has_several_teachers(self) -> bool:
        """Whether a supervision stands for more than one row."""
        return len({row.teacher for row in self.rows}) > 1


def specs_with_rationales(design: Design, layout: StoreLayout) -> tuple[TrialSpec, ...]:
    """One trial's spec for each set of rationales of a study.

    Raises:
        InputError: The study has none, or they are not prepared.
    """
    specs: dict[str, TrialSpec] = {}
    for trial in design.everything:
        recipe = input_recipes(trial.spec).get(InputKind.RATIONALES)
        if recipe is not None:
            specs.setdefault(recipe.digest(), trial.spec)
    if not specs:
        raise InputError(Problem("study", "has no rationales to audit", "name a study with a rationale supervision"))
    if not all(layout.manifest(digest).is_file() for digest in specs):
        raise InputError(Problem(str(layout.root), "its rationales are not prepared", "run `sweep run` first"))
    return tuple(specs.values())


def shown_audit(findings: AuditFindings, *, study: str, data_class: DataClass, min_cell: int) -> StudyAudit:
    """What may be shown of a worker's answer."""
    rows = tuple(_shown(audit, min_cell=min_cell) for audit in findings.audits)
    is_synthetic = data_class is DataClass.SYNTHETIC
    return StudyAudit(study=study, is_synthetic=is_synthetic, min_cell=min_cell, rows=rows)


def _shown(audit: RationaleAudit, *, min_cell: int) -> ShownAudit:
    is_hidden = is_small(audit.n_participants, min_cell)
    return ShownAudit(
        supervision=audit.supervision,
        teacher=audit.teacher,
        label_access=audit.label_access,
        n_rationales=Count.withheld() if is_hidden else Count.of(audit.n_rationales, min_cell=min_cell),
        n_participants=Count.of(audit.n_participants, min_cell=min_cell),
        shares={
            measure: Share.of(
                tally.n,
                total=tally.total,
                n_participants=tally.n_participants,
                n_other_participants=tally.n_other_participants,
                min_cell=min_cell,
            )
            for measure, tally in audit.tallies.items()
        },
        claims={} if is_hidden else {kind: n for kind, n in audit.claims.items() if not is_small(n, min_cell)},
        words=None if is_hidden else audit.words,
        words_per_sentence=None if is_hidden else audit.words_per_sentence,
        self_bleu=None if is_hidden else audit.self_bleu,
    )


def show_audit(console: "Console", audit: StudyAudit) -> None:
    """Print one column a supervision, and a teacher where there are several."""
    from orchestrator.analysis.wording import number, percentage
    from orchestrator.saying.terminal import print_table

    columns = ["share of"]
    for row in audit.rows:
        teacher = f" · {row.label_access}" if audit.has_several_teachers else ""
        columns.append(f"{row.supervision}{teacher}")
    lines = [
        ["rationales (a number)", *(str(row.n_rationales) for row in audit.rows)],
        ["participants (a number)", *(str(row.n_participants) for row in audit.rows)],
        *(
            [words, *(percentage(row.shares[measure]) for row in audit.rows)]
            for measure, words in MEASURE_WORDS.items()
        ),
        ["words a rationale (mean)", *(number(row.words, 1) for row in audit.rows)],
        ["words a sentence (mean)", *(number(row.words_per_sentence, 1) for row in audit.rows)],
        ["self-BLEU of a sample", *(number(row.self_bleu, 2) for row in audit.rows)],
    ]
    print_table(console, columns, lines, n_left=1)
    if audit.is_synthetic:
        console.print("synthetic cohort: no medical conclusion follows")
