"""A launch as it is shown: counts, invalid rates and time left follow from the events; lines say what changed."""

import io
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.text import Text

from orchestrator.execution.events import Ended, Progressed, Requeued, Started
from orchestrator.launch.screen.board import Board, longest_first
from orchestrator.launch.screen.console import Lines, Screen, watch
from orchestrator.saying.terminal import Terminal
from support.stores.builders import split_scores
from support.studies.orders import comparator_spec, micro_spec, micro_training
from workers.contract.answers.ending import Ending
from workers.contract.outcome import FailureKind, Progress
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import Method, Trial


def trial(supervision: Supervision, seed: int) -> Trial:
    spec = micro_spec(supervision, training=micro_training(seed=seed))
    return Trial(spec=spec, coordinates={"supervision": supervision.value, "seed": seed})


TRIALS = [trial(kind, seed) for seed in (1, 2) for kind in (Supervision.FREE_FORM, Supervision.LABEL_ONLY)]
QUEUE = {item.trial_id: item for item in TRIALS}
FIRST, SECOND, THIRD, FOURTH = QUEUE


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board(QUEUE, n_kept=3, n_slots=2, clock=clock)


def scored(trial_id: str, invalid_rate: float = 0.0) -> Ended:
    scores = {"held_out": split_scores(auc=0.7, invalid_rate=invalid_rate)}
    return Ended(Ending(trial_id=trial_id, state="scored", scores=scores))


def failed(trial_id: str) -> Ended:
    return Ended(Ending(trial_id=trial_id, state="failed", failure=FailureKind.CODE, detail="KeyError at prompt.py:1"))


def test_a_trial_that_is_tried_again_neither_runs_nor_ended_and_its_line_says_why(board: Board) -> None:
    for event in (Started(FIRST), Requeued(failed(FIRST).ending, "code, tried again")):
        board.apply(event)
    assert (board.n_ended, board.n_failed, board.running) == (3, 0, {})
    board.apply(Started(FIRST))
    board.apply(scored(FIRST))
    assert (board.n_done, board.n_failed) == (4, 0)
    out = io.StringIO()
    with Lines(Terminal(file=out, width=200), board) as lines:
        lines.see(Requeued(failed(SECOND).ending, "code, tried again"))
    assert "requeued" in out.getvalue()
    assert "code, tried again · KeyError at prompt.py:1" in out.getvalue()


def test_failed_trials_are_ended_but_not_done(board: Board) -> None:
    for event in (Started(FIRST), Started(SECOND), scored(FIRST), failed(SECOND)):
        board.apply(event)
    assert (board.n_total, board.n_done, board.n_failed, board.n_ended) == (7, 4, 1, 5)
    assert board.running == {}


def test_invalid_rate_is_the_mean_over_the_trials_of_a_supervision(board: Board) -> None:
    for event in (scored(FIRST, 0.2), scored(THIRD, 0.4), scored(SECOND, 0.0)):
        board.apply(event)
    assert board.invalid_rates() == {"free_form": pytest.approx(0.3), "label_only": 0.0}


def test_time_left_is_unknown_until_a_trial_has_ended(board: Board) -> None:
    board.apply(Started(FIRST))
    assert board.seconds_left() is None


def test_time_left_takes_each_trial_for_what_its_kind_took_and_what_runs_for_what_is_left_of_it(
    board: Board, clock: Clock
) -> None:
    board.apply(Started(FIRST))
    board.apply(Started(SECOND))
    clock.now = 10.0
    board.apply(scored(SECOND))  # label_only: 10 s
    clock.now = 40.0
    board.apply(scored(FIRST))  # free_form: 40 s
    board.apply(Started(THIRD))
    clock.now = 55.0
    assert board.seconds_left() == pytest.approx((40 - 15 + 10) / 2)


def test_time_left_may_be_asked_for_from_another_thread_while_trials_start_and_end() -> None:
    queue = {item.trial_id: item for item in (trial(Supervision.LABEL_ONLY, seed) for seed in range(200))}
    board, others = Board(queue, n_kept=0, n_slots=2), list(queue)[1:]
    board.apply(scored(next(iter(queue))))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as screen:
            asked = [screen.submit(board.seconds_left) for _ in range(300)]
            while not asked[-1].done():
                for trial_id in others:
                    board.apply(Started(trial_id))
                for trial_id in others:
                    board.apply(Requeued(failed(trial_id).ending, "code, tried again"))
    finally:
        sys.setswitchinterval(interval)
    assert all(answer.result() is not None for answer in asked)


def test_rationales_start_first_and_classical_comparators_last() -> None:
    classical = Trial(spec=comparator_spec(Method.AGE_SEX), coordinates={"control": "age_sex"})
    untrained = Trial(spec=comparator_spec(Method.ZERO_SHOT), coordinates={"control": "zero_shot"})
    order = sorted([classical, untrained, *TRIALS], key=longest_first)
    assert [item.spec.supervision for item in order[:2]] == [Supervision.FREE_FORM] * 2
    assert order[-1] is classical


def shown(board: Board, *, terminal: bool, width: int = 200) -> str:
    text = io.StringIO()
    console = Terminal(file=text, force_terminal=terminal, width=width)
    with watch(console, board) as screen:
        assert isinstance(screen, Screen if terminal else Lines)
        for event in (Started(FIRST), Started(SECOND), scored(FIRST, 0.25), failed(SECOND)):
            screen.see(event)
    return text.getvalue()


def test_without_a_terminal_every_state_change_is_one_line(board: Board) -> None:
    lines = shown(board, terminal=False).splitlines()
    assert [line.split("]")[1].split()[0] for line in lines[:4]] == ["running", "running", "scored", "failed"]
    assert "KeyError at prompt.py:1" in lines[3]
    assert lines[4].startswith("4/7 done · 0 running · 1 failed · invalid free_form 25%")


def test_on_a_terminal_ended_trials_and_the_summary_stay_on_screen(board: Board) -> None:
    text = shown(board, terminal=True)
    assert "AUC 0.700 · invalid 25%" in text
    assert "1 failed" in text


@pytest.mark.parametrize("width", range(50, 70))
def test_a_narrow_terminal_breaks_no_number_of_an_ended_trial_in_two(board: Board, width: int) -> None:
    lines = Text.from_ansi(shown(board, terminal=True, width=width)).plain.splitlines()
    assert any("0.700" in line for line in lines)
    assert max(map(len, lines)) <= width


def drawn(screen: Screen) -> list[str]:
    console = Terminal(file=io.StringIO(), width=200)
    with console.capture() as captured:
        console.print(screen.get_renderable())
    return captured.get().splitlines()


def test_the_screen_has_a_line_for_each_running_trial_and_one_for_the_launch(board: Board, clock: Clock) -> None:
    screen = Screen(Terminal(file=io.StringIO(), width=200), board, clock)
    screen.see(Progressed(FIRST, Progress(phase="training", done=1, total=2)))  # of nobody that runs
    assert drawn(screen) == [drawn(screen)[-1]]
    screen.see(Started(FIRST))
    screen.see(Started(SECOND))
    clock.now = 40.0
    screen.see(Progressed(FIRST, Progress(phase="training", done=30, total=150, loss=0.6931)))
    total, first, second = drawn(screen)
    assert all(word in first for word in ("free_form", "training", "loss 0.693", "40.0 s"))
    assert "label_only" in second and "starting" in second
    assert "3/7 done · 2 running · 0 failed" in total
    screen.see(scored(FIRST))
    screen.see(Requeued(failed(SECOND).ending, "code, tried again"))
    (total,) = drawn(screen)
    assert "4/7 done · 0 running" in total


def test_a_name_longer_than_the_screen_is_wrapped_and_not_cut(board: Board) -> None:
    screen = Screen(Terminal(file=io.StringIO(), width=70), board)
    screen.see(Started(FIRST))
    console = Terminal(file=io.StringIO(), width=70)
    with console.capture() as captured:
        console.print(screen.get_renderable())
    assert "…" not in captured.get()
    assert "seed" in captured.get()


def test_the_summary_of_32_slots_stays_on_a_screen_of_24_lines(clock: Clock) -> None:
    queue = {one.trial_id: one for one in (trial(Supervision.FREE_FORM, seed) for seed in range(40))}
    console = Terminal(file=io.StringIO(), width=80, height=24, force_terminal=True)
    screen = Screen(console, Board(queue, n_kept=0, n_slots=32, clock=clock), clock)
    for trial_id in list(queue)[:32]:
        screen.see(Started(trial_id))
    with console.capture() as captured:
        screen.start()
        screen.refresh()
    lines = captured.get().splitlines()
    assert any("0/40 done · 32 running" in line for line in lines[:24])
    with console.capture():
        screen.stop()
