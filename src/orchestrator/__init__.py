"""The driver's side: study, grid, plan, driver, tracking, store, analysis, report. Never imports torch."""
