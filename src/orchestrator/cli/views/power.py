"""How `sweep plan --power` looks: what the design will see, and all that this assumes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.options import console_of, open_study, print_json

if TYPE_CHECKING:
    from orchestrator.analysis.uncertainty.forecast import PowerForecast


def foretell(study: Path, store: Path, guesses: Sequence[str], *, pilot: Path | None, as_json: bool) -> None:
    """Foretell from a pilot store, or from the trials that the study's own holds, and from guesses."""
    from orchestrator.analysis.results import load_results
    from orchestrator.analysis.uncertainty.forecast import Guesses, forecast, pilot_of
    from orchestrator.design.grid import expand
    from orchestrator.store.outcomes import read_attempts, read_outcomes

    stated = Guesses.parse(guesses)
    loaded, layout = open_study(study, store)
    design = expand(loaded)
    known, at = open_study(pilot, store) if pilot else (loaded, layout)
    tried = expand(known) if pilot else design
    results = load_results(at, tried, outcomes=read_outcomes(at).committed, attempts=read_attempts(at))
    found = forecast(loaded, design, pilot_of(known, tried, results), stated)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    for line in lines(found):
        console_of().print(line)


def lines(found: "PowerForecast") -> list[str]:
    """One a layer, then what was assumed."""
    seen = [
        f"  ±{one.difference:.3f} over {one.covers} (standard error {one.standard_error:.4f}"
        f"{f', {one.degrees_of_freedom:.1f} degrees of freedom' if one.degrees_of_freedom else ''})"
        for one in found.detectable
    ]
    return [
        f"{found.contrast}: differences in ROC-AUC that {found.n_cells} matched cells show in 80 % of studies",
        *seen,
        *(f"  {layer}: can't be foretold, {reason}" for layer, reason in found.reasons.items()),
        f"assumed: {'; '.join(found.assumed)}",
    ]
