"""The roll call: what a node lacks is found before anything runs, and told with its host."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.design.grid import expand
from orchestrator.launch.mustering import problems_of, roll_call
from orchestrator.store.collecting import collect
from orchestrator.store.outcomes import Seals
from orchestrator.study.study import Study, load_study
from support.studies.micro_study import write_study
from workers.contract.answers.roll_call import Present, RollCall, Software
from workers.contract.layout import StoreLayout
from workers.store.roll_call import answer, unfit

Change = Callable[[RollCall, Path], RollCall]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load_study(write_study(tmp_path))


@pytest.fixture
def call(study: Study, tmp_path: Path) -> Iterator[RollCall]:
    data = tmp_path / "data.csv"
    data.write_text("id,x\n")
    layout = StoreLayout(tmp_path / "store")
    with roll_call(study, layout) as made:
        yield made.model_copy(update={"sources": {str(data): 5}})
    assert not layout.scratch.exists()


def test_what_a_killed_driver_asked_the_nodes_goes_with_the_next_launch(study: Study, tmp_path: Path) -> None:
    layout = StoreLayout(tmp_path / "store")
    dying = "import os, sys; from pathlib import Path; from orchestrator.launch.mustering import roll_call\n"
    dying += "from orchestrator.study.study import load_study; from workers.contract.layout import StoreLayout\n"
    dying += "with roll_call(load_study(Path(sys.argv[1])), StoreLayout(Path(sys.argv[2]))): os._exit(9)"
    subprocess.run([sys.executable, "-c", dying, str(tmp_path / "micro.yaml"), str(layout.root)], check=False)
    assert list(layout.scratch.iterdir())
    assert collect(layout, expand(study), Seals(committed={})).unknown == ()
    with roll_call(study, layout):
        pass
    assert not layout.scratch.exists()


def test_a_node_like_the_driver_is_fit(call: RollCall) -> None:
    assert problems_of(call, [answer(call)]) == []
    assert unfit(call)[1] == ""


def absent(call: RollCall, folder: Path) -> RollCall:
    return call.model_copy(update={"place": str(folder / "elsewhere" / "scratch" / "x")})


def anothers(call: RollCall, folder: Path) -> RollCall:
    call.file.write_text("of another launch")
    return call


def without_data(call: RollCall, folder: Path) -> RollCall:
    (folder / "data.csv").unlink()
    return call


def with_other_data(call: RollCall, folder: Path) -> RollCall:
    (folder / "data.csv").write_text("id,x\n1,2\n")
    return call


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (absent, "does not see the store"),
        (anothers, "another one lies there"),
        (without_data, "does not exist there"),
        (with_other_data, "holds 9 bytes there, and 5 where the driver runs"),
    ],
)
def test_a_node_that_lacks_something_is_refused_with_its_host(
    call: RollCall, tmp_path: Path, change: Change, says: str
) -> None:
    changed = change(call, tmp_path)
    present = answer(changed)
    [problem] = problems_of(changed, [present])
    assert problem.where == f"node {present.host}"
    assert says in problem.what
    assert problem.remedy
    assert says in unfit(changed)[1]


def test_a_node_whose_writing_is_not_seen_by_the_driver_has_another_store(call: RollCall) -> None:
    present = answer(call)
    Path(call.place, present.answer).unlink()
    [problem] = problems_of(call, [present])
    assert "not seen here" in problem.what


def with_peft(call: RollCall, version: str) -> Present:
    others = {**call.software.packages, "peft": version}
    return answer(call).model_copy(update={"software": call.software.model_copy(update={"packages": others})})


def test_other_software_is_refused_by_name_unless_it_is_allowed(call: RollCall) -> None:
    present = with_peft(call, "0.0.1")
    [problem] = problems_of(call, [present])
    assert "peft 0.0.1, not" in problem.what
    assert "--allow-mixed" in problem.remedy
    assert problems_of(call.model_copy(update={"allows_mixed": True}), [present]) == []


@pytest.mark.parametrize(("part", "value"), [("python", "3.9"), ("code", "0" * 12)])
def test_a_worker_on_a_node_with_other_software_may_not_begin(call: RollCall, part: str, value: str) -> None:
    other = call.model_copy(update={"software": call.software.model_copy(update={part: value})})
    assert value not in unfit(other)[1].partition("not")[0]
    assert value in unfit(other)[1]
    assert unfit(other.model_copy(update={"allows_mixed": True}))[1] == ""


def test_a_worker_leaves_nothing_behind(call: RollCall) -> None:
    unfit(call)
    assert [path.name for path in Path(call.place).iterdir()] == [call.nonce]


def test_all_nodes_and_all_their_faults_are_told_at_once(call: RollCall) -> None:
    first, second = with_peft(call, "0.0.1"), answer(call).model_copy(update={"host": "b", "faults": ("x: y", "z: w")})
    assert [problem.where for problem in problems_of(call, [first, second])] == [
        f"node {first.host}",
        "node b",
        "node b",
    ]


def test_without_a_store_only_sources_and_software_are_looked_at(study: Study) -> None:
    with roll_call(study, None) as call:
        assert problems_of(call, [answer(call)]) == []


def test_software_of_one_installation_does_not_differ() -> None:
    assert Software.here().differences(Software.here()) == []
