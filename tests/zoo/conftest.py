"""The table of the zoo, printed when all is done."""

from pytest import TerminalReporter

HEAD = ("| architecture | rows together | on one cache, before | now, or why not |", "|---|---|---|---|")


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """One line for each architecture that was tried."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
    rows = sorted(str(row) for report in reports for name, row in report.user_properties if name == "zoo")
    if rows:
        terminalreporter.write_sep("=", f"the zoo: {len(rows)} architectures")
        for line in (*HEAD, *rows):
            terminalreporter.write_line(line)
