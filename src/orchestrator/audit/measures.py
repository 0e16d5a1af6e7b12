"""What the page says of the rationale audit; whoever audits fills it in, without one the section is left out."""

from workers.contract.outcome import Record


class AuditMeasure(Record):
    """One measure of the audit; `detail` says of what and with which interval, without any rationale's text."""

    name: str
    value: float | None
    detail: str


class AuditNote(Record):
    """One plain sentence, such as that raters are awaited, and the measures that there are."""

    statement: str
    measures: tuple[AuditMeasure, ...] = ()
