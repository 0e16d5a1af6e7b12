"""A launch as somebody sees it in the smallest terminal that is still common: 80 columns, 24 lines."""

from pathlib import Path

import pytest

from support.browser import Browser
from support.places import SWEEPS
from support.terminal import LINES, Recording, look_at, recorded

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]

N_TRIALS = 19


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """The quickstart, into a new store."""
    folder = tmp_path_factory.mktemp("terminal")
    (folder / "sweeps").symlink_to(SWEEPS)
    return recorded("run", "sweeps/quickstart.yaml", cwd=folder)


def test_the_live_screen_shows_what_runs_and_how_far_it_all_is(
    browser: Browser, launch: Recording, pictures: Path
) -> None:
    lines = look_at(browser, launch.before(f"[9/{N_TRIALS}]"), picture=pictures / "terminal.png")
    shown = " ".join(" ".join(lines).split())
    assert len(lines) == LINES
    assert f"8/{N_TRIALS} done · " in shown and " left" in shown
    assert "training" in shown or "scoring" in shown


def test_a_launch_ends_in_sight_of_its_answer(browser: Browser, launch: Recording, pictures: Path) -> None:
    assert launch.code == 0
    shown = " ".join(look_at(browser, launch.sent, picture=pictures / "terminal-end.png"))
    assert f"quickstart is complete: {N_TRIALS} of {N_TRIALS} trials" in shown
    assert all(f"{what} " in shown for what in ("answer", "report", "dataset", "tracking"))
