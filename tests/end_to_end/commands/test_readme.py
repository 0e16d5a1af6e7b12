"""The README's commands, each with its words as they stand there, on a store of real trials."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.launches.command_line import sweep_here
from support.places import FRAMINGHAM, REPOSITORY
from workers.contract.layout import StoreLayout

pytestmark = pytest.mark.end_to_end
ROW = re.compile(r"^\| `(sweep [^`]+)`", re.MULTILINE)
RUNS_ON = "sweep ui"  # until it is ended
# Where there is nothing to stop, no cluster, sheets are empty still, or nobody is there to be asked.
CODES = {"sweep stop": 2, "sweep attach": 2, "sweep audit agree": 2, "sweep purge": 2}
COMMANDS = ROW.findall((REPOSITORY / "README.md").read_text())


@pytest.fixture(scope="module")
def layout(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> StoreLayout:
    """A store beside its study, this module's own."""
    folder = tmp_path_factory.mktemp("readme") / "study"
    shutil.copytree(finished, folder)
    return StoreLayout(folder / "store" / "micro")


def spelt(command: str, layout: StoreLayout) -> list[str]:
    """The words of a command with something real in the place of each capital word."""
    trial = next(path for path in layout.trials.glob("*/outcome.json") if "lora" in path.read_text()).parent.name
    sheet, key = layout.root.parents[1] / "DIR" / "rater-1.csv", layout.root / "audit-keys"
    places = {"STUDY": "micro.yaml", "STORE": "store/micro", "TRIAL": trial, "ID": trial, "FILE": "micro.yaml"}
    places |= {
        "COHORT": "micro.yaml",
        "TABLE": str(FRAMINGHAM),
        "PLACE": "micro.yaml",
        "SHEET…": str(sheet),
        "KEY.csv": str(next(key.glob("*"), key)),
    }
    words = shlex.split(command.replace('…"', 'count(*) from trials"'))[1:]
    return [places.get(word.strip("[]"), word) for word in words]


@pytest.mark.parametrize("command", [one for one in COMMANDS if not one.startswith(RUNS_ON)])
def test_a_command_of_the_readme_does_what_it_says(command: str, layout: StoreLayout) -> None:
    done = sweep_here(*spelt(command, layout), cwd=layout.root.parents[1])
    expected = next((code for start, code in CODES.items() if command.startswith(start)), 0)
    assert done.returncode == expected, done.stderr + done.stdout
    assert done.stdout if expected == 0 else done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_the_python_of_the_readme_runs_on_a_store(layout: StoreLayout) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("store/quickstart", str(layout.root)), names)
    assert set(names["scores"].index.get_level_values("supervision")) >= {"label_only", "free_form"}
    assert (names["events"]["n"] > 0).all()
    assert set(names["contrasts"]["contrast"]) == {one.name for one in names["store"].findings.contrasts}
    assert names["answer"]


def test_every_command_stands_in_the_readme(tmp_path: Path) -> None:
    told = {command.split()[1] for command in COMMANDS}
    listed = re.findall(r"^│ (\w+) ", sweep_here("--help", cwd=tmp_path).stdout.split("Commands")[1], re.MULTILINE)
    assert set(listed) == told
