"""The rationale audit, as the driver asks for it and shows it: aggregates, sheets, agreement of raters."""
