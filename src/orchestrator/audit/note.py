"""What the report says of the rationale audit: the store's two files as one note."""

from pydantic import ValidationError

from orchestrator.audit.agreement import Agreement, written
from orchestrator.audit.automatic import MEASURE_WORDS, StudyAudit
from orchestrator.audit.measures import AuditMeasure, AuditNote
from orchestrator.design.grid import Design
from orchestrator.disclosure import HIDDEN
from workers.contract.errors import StoreError
from workers.contract.layout import StoreLayout

EXPERTS = "Rationale audit by experts: {found.n_raters} raters, {found.n_rationales} rationales, blinded."
AWAITING = "Rationale audit by experts: awaiting raters."
NOT_RUN = "The automatic audit has not run; `sweep audit run` does it."
AUTOMATIC = (
    "The automatic audit knows names, bands, numbers and times, never meaning; its shares are of the claims that it "
    "can read."
)
SHOWN_ITEMS = ("accuracy", "grounded")


def audit_note(design: Design, layout: StoreLayout) -> AuditNote | None:
    """What is known of the study's rationales; null where the study has none.

    Raises:
        StoreError: A file of the audit can't be read.
    """
    if not any(trial.spec.teacher for trial in design.everything):
        return None
    try:
        audit = StudyAudit.model_validate_json(layout.audit.read_bytes()) if layout.audit.is_file() else None
        found = Agreement.model_validate_json(layout.agreement.read_bytes()) if layout.agreement.is_file() else None
    except ValidationError as error:
        raise StoreError(
            f"{layout.root}: audit.json or agreement.json is damaged ({error.title}); "
            "delete it, and say `sweep audit` again"
        ) from None
    experts = EXPERTS.format(found=found) if found else AWAITING
    return AuditNote(
        statement=f"{experts} {AUTOMATIC if audit else NOT_RUN}",
        measures=(*(_agreement_measures(found) if found else ()), *(_audit_measures(audit) if audit else ())),
    )


def _agreement_measures(found: Agreement) -> list[AuditMeasure]:
    shares = [
        AuditMeasure(
            name=share.name,
            value=share.share.value if share.share else None,
            detail=f"{share.supervision}, {share.n_rationales} rationales, share {written(share.share)}",
        )
        for share in found.shares
    ]
    agreed = [
        AuditMeasure(
            name=f"agreement on {row.item}",
            value=row.gwet.value if row.gwet else None,
            detail=f"{'AC2' if row.is_scale else 'AC1'} {written(row.gwet)}, kappa {written(row.kappa)}",
        )
        for row in found.items
        if row.item in SHOWN_ITEMS or not row.is_scale
    ]
    return shares + agreed


def _audit_measures(audit: StudyAudit) -> list[AuditMeasure]:
    measures = []
    for measure, words in MEASURE_WORDS.items():
        for row in audit.rows:
            teacher = f", {row.label_access} teacher" if audit.has_several_teachers else ""
            share = row.shares[measure]
            hidden = f", {HIDDEN}" if share.is_hidden else ""
            detail = f"{row.supervision}{teacher}{hidden}"
            measures.append(AuditMeasure(name=words, value=share.value, detail=detail))
    return measures
