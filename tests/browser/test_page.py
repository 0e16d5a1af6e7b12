"""The report of 574 trials as somebody sees it: on a screen, on a telephone, on paper, in the dark, by keyboard."""

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from support.browser import ENTER, TAB, Browser

pytestmark = pytest.mark.browser

N_TRIALS = 574
LOOKS: dict[str, dict[str, Any]] = {
    "desk": {"width": 1280},
    "telephone": {"width": 390},
    "dark": {"width": 1280, "scheme": "dark"},
    "paper": {"width": 718, "media": "print"},  # A4 less its margins
}
FIT = "html, caption, figcaption, h1, h2, pre, .answer, .chips a, .settings li"


def shown_rows(browser: Browser) -> list[list[str]]:
    return list(
        browser.ask(
            "return [...document.querySelectorAll('table.sortable tbody tr')].filter((row) => row.offsetHeight)"
            ".map((row) => [...row.cells].map((cell) => cell.textContent.trim()))"
        )
    )


def column(browser: Browser, name: str) -> int:
    names = browser.ask(
        "return [...document.querySelectorAll('table.sortable thead th')].map((head) => head.textContent)"
    )
    return list(names).index(name)


@pytest.mark.parametrize("look", LOOKS)
def test_it_loads_quietly_asks_nobody_and_fits(browser: Browser, page: str, pictures: Path, look: str) -> None:
    browser.open(page, **LOOKS[look])
    assert browser.complaints() == []
    assert browser.requests() == []
    browser.picture(pictures / f"page-{look}.png")
    assert browser.overflowing(FIT) == []
    assert len(shown_rows(browser)) == N_TRIALS


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing(browser: Browser, page: str, look: str) -> None:
    browser.open(page, **LOOKS[look])
    assert browser.violations() == []


def test_figures_lie_on_the_page_s_own_colour_in_the_dark(browser: Browser, page: str, tmp_path: Path) -> None:
    browser.open(page, **LOOKS["dark"])
    browser.picture(tmp_path / "page.png")
    dots = np.round(255 * imread(tmp_path / "page.png")[..., :3])
    corners = browser.ask(
        "return [...document.querySelectorAll('main figure svg')].map((one) => one.getBoundingClientRect())"
        ".map((box) => [box.top + 2, box.left + 2])"
    )
    assert len(corners) > 5
    assert {tuple(dots[int(top), int(left)]) for top, left in corners} == {tuple(dots[0, 0])}


def test_without_scripts_every_trial_is_shown_and_no_control_is_dead(browser: Browser, page: str) -> None:
    browser.open(page, runs_scripts=False)
    assert len(shown_rows(browser)) == N_TRIALS
    assert browser.ask("return document.querySelectorAll('button, input, select').length") == 0
    assert browser.overflowing(FIT) == []


def test_words_filter_the_trials(browser: Browser, page: str) -> None:
    browser.open(page)
    browser.click("input[type=search]")
    browser.type("free_form llama-s 576")
    rows = shown_rows(browser)
    assert len(rows) == 6 and all({"free_form", "llama-s", "576"} <= set(row) for row in rows)
    assert browser.ask("return document.querySelector('[role=status]').textContent") == f" 6 of {N_TRIALS} trials"


def test_a_head_sorts_by_number_there_and_back_with_what_is_missing_last(browser: Browser, page: str) -> None:
    browser.open(page)
    at = column(browser, "Strict AUC")
    for direction, is_reversed in (("ascending", False), ("descending", True)):
        browser.click("table.sortable thead button", at)
        assert browser.ask("return document.querySelector('[aria-sort]').ariaSort") == direction
        values = [row[at] for row in shown_rows(browser)]
        known = [float(value) for value in values[:-5]]
        assert known == sorted(known, reverse=is_reversed) and values[-5:] == ["–"] * 5


def test_the_keyboard_alone_filters_reaches_and_sorts(browser: Browser, page: str) -> None:
    browser.open(page)
    browser.ask("document.querySelector('input[type=search]').focus()")
    browser.type(f"failed{TAB}")
    assert browser.ask("return document.activeElement.className") == "scroll tall"
    browser.type(f"{TAB}{ENTER}")
    assert browser.ask("return document.querySelector('[aria-sort]').textContent") == "Trial"
    ids = [row[0] for row in shown_rows(browser)]
    assert ids == sorted(ids) and len(ids) == 3


def test_the_contents_and_the_chips_lead_to_headings(browser: Browser, page: str) -> None:
    browser.open(page)
    links = browser.ask("return document.querySelectorAll('nav a, .answer a').length")
    assert links > 15
    for n in range(links):
        script = """
            document.querySelectorAll('nav a, .answer a')[arguments[0]].click();
            return document.querySelector(':target').getBoundingClientRect().top;
        """
        assert 0 <= browser.ask(script, n) < 900


def test_the_contents_are_in_sight_as_a_whole_at_a_desk(browser: Browser, page: str) -> None:
    script = "return [...document.querySelectorAll('nav a')].filter((one) => one.getBoundingClientRect().bottom > 900)"
    for width in (960, 1280):
        browser.open(page, width=width)
        assert browser.overflowing(f"nav, {FIT}") == []
        assert browser.ask(f"{script}.length") == 0


def test_30_sheets_hold_all_and_none_is_half_empty(browser: Browser, page: str, tmp_path: Path) -> None:
    browser.open(page)
    (tmp_path / "page.pdf").write_bytes(browser.sheets())
    subprocess.run(["pdftoppm", "-r", "10", "-gray", "page.pdf", "sheet"], cwd=tmp_path, check=True)
    filled = []
    for sheet in sorted(tmp_path.glob("*.pgm")):
        kind, width, height, _, dots = sheet.read_bytes().split(maxsplit=4)
        assert kind == b"P5"
        grey = np.frombuffer(dots, np.uint8).reshape(int(height), int(width))
        filled.append(np.flatnonzero((grey < 250).any(axis=1)).max() / int(height))
    assert len(filled) <= 30 and min(filled[:-1]) > 0.5


def test_paper_hides_nothing_and_repeats_heads(browser: Browser, page: str, pictures: Path) -> None:
    browser.open(page)
    browser.click("input[type=search]")
    browser.type("logistic")
    (pictures / "page.pdf").write_bytes(browser.sheets())
    sheets = subprocess.check_output(["pdftotext", "-layout", pictures / "page.pdf", "-"], text=True).split("\f")
    of_trials = [sheet for sheet in sheets if sheet.count(" label_only ") > 9]
    assert len(of_trials) > 3 and all("Brier" in sheet for sheet in of_trials)
    assert sum(len(re.findall(r"^ *[0-9a-f]{16} ", sheet, re.MULTILINE)) for sheet in sheets) >= N_TRIALS
    browser.open(page, **LOOKS["paper"])
    assert browser.overflowing(".scroll, figure") == []
    hidden = "return [...document.querySelectorAll('details > *')].filter((one) => !one.offsetHeight).length"
    assert browser.ask(hidden) == 0
    assert browser.ask("return getComputedStyle(document.querySelector('.settings')).columnCount") == "2"
