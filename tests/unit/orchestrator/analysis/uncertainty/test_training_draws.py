"""A study of several training draws, from its file to its answer."""

from pathlib import Path

from orchestrator.analysis.findings import analyse
from orchestrator.analysis.results import load_results
from orchestrator.analysis.uncertainty.layers import PARTICIPANTS, TRAINING
from orchestrator.design.grid import expand
from orchestrator.store.outcomes import read_outcomes
from orchestrator.study.study import load_study
from support.stores.builders import build_store, usual_signal
from support.stores.estimates import known
from support.studies.micro_study import write_study
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import Trial

# How much of the risk rationales teach, by the sample that they are written for; labels teach about 1.
TAUGHT = (1.6, 1.2, -0.6, -0.2, 0.4)


def test_a_difference_that_turns_with_the_training_draw_is_claimed_of_these_models_alone(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("  seed: [1]\n", "  seed: [1]\n  training_draw: [0, 1, 2, 3, 4]\n"))
    study = load_study(path)
    design = expand(study)
    layout = build_store(tmp_path / "store", study, design, signal=_signal, n_participants=300)
    results = load_results(layout, design, outcomes=read_outcomes(layout).committed, attempts={})
    findings = analyse(study, design, results, n_replicates=200)
    layers = {layer.name: layer for layer in findings.contrasts[0].layers}
    assert (known(layers[PARTICIPANTS]).sign, known(layers[TRAINING]).sign) == (-1, 0)
    assert findings.contrasts[0].widest == layers[TRAINING]
    covered = "The intervals cover new participants and new training draws, with the seeds of this study"
    assert covered in findings.answer


def _signal(trial: Trial) -> float:
    is_rationale = trial.role == "grid" and trial.spec.supervision is not Supervision.LABEL_ONLY
    return TAUGHT[trial.spec.training_draw] if is_rationale else usual_signal(trial)
