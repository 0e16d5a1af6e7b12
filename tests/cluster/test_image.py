"""The image: its steps are taken one by one in a root of their own, and what they make drives and works."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hosts.image import PROGRAMS, Image
from support.hosts.packages import why_not
from support.places import FRAMINGHAM, REPOSITORY
from support.studies.micro_study import write_study

pytestmark = pytest.mark.timeout(3000)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """For CPUs; `SEES` names what else of this machine its steps may see."""
    if (why := why_not(PROGRAMS)) or os.geteuid() != 0:
        pytest.skip(why or "images are made by root")
    sees = [Path(place) for place in os.environ.get("SEES", "").split()]
    with tempfile.TemporaryDirectory(prefix="sweep-image-") as place:
        root = Path(place) / "root"
        image = Image(root, REPOSITORY, sees, {"TORCH": "cpu"})
        image.build(REPOSITORY / "cluster" / "Dockerfile")
        yield image


def test_its_command_answers(image: Image) -> None:
    said = image.run(*image.command)
    assert said.returncode == 0, said.stderr
    assert "Usage: sweep" in said.stdout


def test_a_study_runs_in_it(image: Image) -> None:
    """As its user, without this checkout or its environment."""
    srv = image.root / "srv"
    shutil.copy(FRAMINGHAM, srv)
    write_study(srv, file=Path("/srv/framingham.csv"))
    for path in (srv, *srv.iterdir()):
        shutil.chown(path, image.user)
    ran = image.run("sweep", "run", "/srv/micro.yaml", "--store", "/srv/store")
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert len(list((srv / "store" / "micro" / "trials").glob("*/outcome.json"))) == 4
    checked = image.run("sweep", "verify", "/srv/micro.yaml", "--store", "/srv/store")
    assert checked.returncode == 0, checked.stdout
