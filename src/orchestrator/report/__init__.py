"""One self-contained HTML page that answers the study question."""
