"""What `Progress` writes where there is no terminal, against a clock the test turns."""

import io

import pytest

from causvid.progress import Progress, duration


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(total, steps, seconds_a_step, **options):
    clock, stream = Clock(), io.StringIO()
    with Progress(total, label="teacher", unit="step", stream=stream, clock=clock, **options) as bar:
        for step in range(steps):
            clock.now += seconds_a_step
            bar.update(loss=0.5 / (step + 1))
    return stream.getvalue().splitlines()


def test_a_line_says_share_rate_time_left_and_fields():
    lines = run(40, 20, 0.5)

    assert lines[1] == "teacher   27%  11/40 steps  2.0 steps/s  ETA 0:14  loss 0.04545"


def test_a_log_gets_a_line_every_few_seconds_and_a_last_one():
    lines = run(1000, 1000, 0.02)

    assert len(lines) == 5
    assert lines[-1].startswith("teacher  100%  1000/1000 steps  50.0 steps/s  took 0:20")


def test_the_end_is_said_once():
    stream = io.StringIO()
    with Progress(12, label="clip.mp4", unit="frame", stream=stream) as bar:
        bar.update(12)

    assert stream.getvalue().count("100%") == 1


def test_slow_work_is_counted_in_seconds_a_step():
    assert "4.0 s/step" in run(10, 2, 4.0)[-1]


def test_steps_of_an_earlier_run_do_not_count_in_the_rate():
    assert run(100, 5, 1.0, done=90)[-1].startswith("teacher   95%  95/100 steps  1.0 steps/s  ETA 5.0 s")


def test_an_unknown_total_shows_no_share_and_no_time_left():
    assert run(None, 4, 0.5)[-1] == "teacher  4 steps  2.0 steps/s  loss 0.125"


def test_work_that_is_stopped_still_says_how_far_it_came():
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Progress(9, label="demo", unit="frame", stream=stream) as bar:
        bar.update(4, note="chunk 1")
        raise KeyboardInterrupt

    assert "4/9 frames" in stream.getvalue().splitlines()[-1]


def test_a_terminal_shows_a_bar_and_text_in_brackets_survives():
    stream = Terminal()
    with Progress(2, label="demo", unit="frame", stream=stream) as bar:
        bar.say("saved [bold]out[/bold].mp4")
        bar.update(2, note="[a]")

    assert "saved [bold]out[/bold].mp4" in stream.getvalue()
    assert "100%  2/2 frames" in stream.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(4.21, "4.2 s"), (187, "3:07"), (3729, "1:02:09")])
def test_a_duration_is_readable(seconds, text):
    assert duration(seconds) == text
