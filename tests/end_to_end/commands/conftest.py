"""A finished store of real trials, made once without Ray.

Where a command is run in this process, so is the worker that it asks; `sweep` has both in processes of their own.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from orchestrator.design.grid import expand
from orchestrator.study.files import sources_of
from orchestrator.study.study import load_study
from support.launches.command_line import worker_here
from support.studies.micro_study import write_study
from workers.attempt.runner import Runner
from workers.contract.layout import StoreLayout
from workers.contract.trial import WorkOrder


@pytest.fixture(scope="session", autouse=True)
def _workers_answer_here() -> Iterator[None]:
    with patch("orchestrator.asking.run_worker", worker_here):
        yield


@pytest.fixture(scope="session")
def finished(prepared_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study and its finished store; copy it before writing."""
    folder = tmp_path_factory.mktemp("finished")
    study = load_study(write_study(folder))
    layout = StoreLayout(folder / "store" / study.study)
    shutil.copytree(prepared_store, layout.root)
    layout.study.write_text(study.model_dump_json())
    for trial in expand(study).everything:
        order = WorkOrder(trial=trial, store=str(layout.root), sources=sources_of(study))
        assert [*Runner(n_threads=1).run(order)]
    return folder
