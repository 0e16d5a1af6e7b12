"""A study that looks, on real Ray: two batches of trials in one launch, two training draws, and a look between them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.launch.record import past_launches
from orchestrator.store.outcomes import committed_ids
from orchestrator.store.sealing import read_looks
from support.studies.micro_study import write_study
from workers.contract.layout import StoreLayout

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(420)]


def test_trials_after_a_look_run_in_the_same_launch_and_a_second_one_runs_nothing(tmp_path: Path) -> None:
    study = write_study(tmp_path, steps=1)
    text = study.read_text().replace("axes:\n", "axes:\n  training_draw: [0, 1]\n")
    text = text.replace("controls: [age_sex]\n", "")
    study.write_text(f"{text}looks: [0.5]\n")
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(study), "--json"]
    layout = StoreLayout(tmp_path / "store" / "micro")
    for _ in range(2):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["n_done"] == 4
        assert len(read_looks(layout)) == 1
    (look,) = read_looks(layout)
    assert (look.decision, look.n_cells, look.n_complete) == ("go_on", 1, 1)
    assert len(set(committed_ids(layout)) - set(look.trial_ids)) == 2
    assert len(list(past_launches(layout))) == 1
