"""What a run shows: a line at least every thirty seconds off a terminal, the essentials on eighty columns of one."""

from __future__ import annotations

import io
import sys

import pytest

from saccade.engine.train.callbacks import StepEvent
from saccade.engine.train.pace import Pace
from saccade.engine.train.progress import TrainingDisplay, track


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def event(step: int, left: float | None, **losses: float) -> StepEvent:
    return StepEvent(1, 30, step, 1200, losses or {"loss": 2.0}, 0.01, 12.34, left)


def test_off_a_terminal_an_estimate_comes_first_and_then_a_line_every_thirty_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    display = TrainingDisplay(active=True, clock=clock)
    shown = []
    for step in display.epoch(range(1, 121), 0, 30, 1200, 0):
        clock.now += 1.0  # a second a step
        if display.due():
            display.note(event(step, None if step < 7 else 600.0))
        lines = capsys.readouterr().err.splitlines()
        shown += [(step, line) for line in lines]
    assert [step for step, _ in shown] == [7, 7, 37, 67, 97]
    assert shown[0][1] == (
        "estimate: 10 min for the rest of the run, at most 1200 steps; scoring is counted from the first time on"
    )
    assert shown[1][1] == "epoch 1/30  step 7/1200 (0 %)  12.3 images/s  loss 2  lr 0.01  10 min left"


def test_other_processes_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    display = TrainingDisplay(active=False, clock=clock)
    for _ in display.epoch(range(3), 0, 1, 3, 0):
        clock.now += 100.0
        assert not display.due()
    assert list(display.track(range(3), 3, "validation")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("columns", "losses"), [(80, 2), (160, 4)])
def test_on_a_narrow_terminal_the_losses_give_way(columns: int, losses: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(), Clock()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    display = TrainingDisplay(active=True, clock=clock)
    for step in display.epoch(range(40, 43), 0, 30, 1200, 39):
        clock.now += 1.0
        assert display.due()
        display.note(event(step, 840.0, box=1.5, objectness=4.25, class_score=0.5))
        display._bar.refresh()
    bars = [line for line in terminal.getvalue().replace("\r", "\n").splitlines() if "min left" in line]
    assert bars
    for bar in bars:
        assert all(text in bar for text in ("epoch 1/30", "/1200", "3 %", "14 min left"))
        assert sum(f"{name} " in bar for name in ("loss", "box", "objectness", "class_score")) == losses


def test_the_pace_counts_steps_and_what_comes_between_epochs() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.left(10, 1) is None
    for _ in range(2):
        clock.now += 30.0  # loader processes start, or scores are made
        for _ in range(5):
            pace.step(images=8)
            clock.now += 2.0
        pace.end_epoch()
    assert pace.images_per_second == pytest.approx(4.0)  # between two epochs, as before
    assert pace.left(steps=10, epochs=2) == pytest.approx(10 * 2.0 + 2 * 30.0)


def test_other_work_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter([0.0, 20.0, 40.0, 60.0, 80.0])
    monkeypatch.setattr("saccade.engine.train.progress.time", type("Time", (), {"monotonic": lambda: next(seconds)}))
    assert list(track("abcd", 4, "validation")) == list("abcd")
    assert capsys.readouterr().err == "validation: 2 of 4, 40 s left\n"
