"""What the store holds, analysed, and the page about it; what a study's settling and `sweep report` share."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from orchestrator.design.grid import Design
from orchestrator.launch.record import PastLaunch, TrialEnded, TrialTracked, past_launches
from orchestrator.launch.sealing import standing
from orchestrator.store.outcomes import Outcomes, Snapshot
from orchestrator.store.sealing import read_looks
from orchestrator.study.study import Study
from orchestrator.tracking.study_page import StudyAnswer
from workers.contract.inputs import InputKind, Manifest, ProofFigures, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.recipes.recipe import digest_of
from workers.contract.recipes.scorings import Scoring
from workers.contract.system.durable import replace_file

if TYPE_CHECKING:
    from orchestrator.analysis.findings import Findings
    from orchestrator.analysis.tables.ledger import ForecastScore


def find_out(study: Study, design: Design, layout: StoreLayout, held: Snapshot[Outcomes]) -> "Findings":
    """Analyse what the store holds.

    Raises:
        StoreError: Trials were scored on different examples.
    """
    from orchestrator.analysis.findings import analyse
    from orchestrator.analysis.results import load_results
    from orchestrator.analysis.tables.parts import spent_times

    results = load_results(
        layout,
        design,
        outcomes=held.outcomes.committed,
        attempts=held.attempts,
        ended=held.outcomes.ended,
    )
    findings = analyse(study, design, results, plan=standing(study, layout), looks=read_looks(layout))
    launches = past_launches(layout)
    spent = spent_times(design, results, _spent_by_driver(launches))
    return findings.model_copy(update={"forecasts": tuple(score_forecasts(launches)), "spent": spent})


def _spent_by_driver(launches: Sequence[PastLaunch]) -> dict[str, dict[str, float]]:
    """Seconds beside a worker's own account, by trial and part; of a trial that ran again the last."""
    spent: dict[str, dict[str, float]] = defaultdict(dict)
    for entry in chain.from_iterable(launch.entries for launch in launches):
        match entry:
            case TrialEnded(failure=None):
                spent[entry.trial_id]["commit"] = entry.commit_s
            case TrialTracked():
                spent[entry.trial_id]["tracking"] = entry.seconds
    return spent


def score_forecasts(launches: Sequence[PastLaunch]) -> "Iterator[ForecastScore]":
    """Of launches that foretold anything, and carried all out."""
    from orchestrator.analysis.tables.ledger import ForecastScore

    for launch in launches:
        if launch.foretold and launch.took_s is not None:
            told = launch.foretold.model_dump(exclude={"at", "what"})
            yield ForecastScore(launch=launch.number, took_s=launch.took_s, **told)


def write_study_report(study: Study, design: Design, layout: StoreLayout, held: Snapshot[Outcomes]) -> StudyAnswer:
    """Write the HTML page of what the store holds and, beside it, the guideline's checklist; what they answer."""
    from orchestrator.audit.note import audit_note
    from orchestrator.report.page import flow_of, write_report
    from orchestrator.report.tripod import Basis, checklist

    cohort = Manifest.load(layout.manifest(input_recipes(design.everything[0].spec)[InputKind.COHORT].digest()))
    proofs = {
        str(trial.coordinates.get("base")): figures
        for trial in design.everything
        if (figures := ProofFigures.of(trial.spec, layout)) is not None
    }
    counts = cohort.counts if cohort else {}
    findings, note = find_out(study, design, layout, held), audit_note(design, layout)
    flow = flow_of(counts, findings, min_cell=study.cohort.min_cell)
    asked = checklist(Basis(study=study, design=design, findings=findings, flow=flow, audit=note)).sealed()
    replace_file(layout.tripod, asked.model_dump_json(indent=1))
    write_report(study, design, findings, path=layout.report, cohort_counts=counts, proofs=proofs, audit=note)
    return answer_of(findings, basis_of(study, layout, held.outcomes))


def basis_of(study: Study, layout: StoreLayout, outcomes: Outcomes) -> str:
    """Digest of all that an answer follows from."""
    checksums = {trial_id: outcome.checksum for trial_id, outcome in outcomes.committed.items()}
    is_blinded = layout.is_blinded
    return digest_of({"study": study.model_dump(mode="json"), "outcomes": checksums, "is_blinded": is_blinded})


def answer_of(findings: "Findings", basis: str) -> StudyAnswer:
    """The answer as MLflow and the terminal say it; of each contrast the widest layer that the design supports."""
    estimates = {contrast.name: contrast.widest[Scoring.STRICT] for contrast in findings.contrasts if contrast.layers}
    contrasts = {name: (found.value, found.low, found.high) for name, found in estimates.items() if found is not None}
    return StudyAnswer(findings.answer, contrasts, basis)
