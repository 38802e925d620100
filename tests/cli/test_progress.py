import sys
import time

from latentloom.cli.progress import clock, progress


def test_away_from_a_terminal_progress_is_a_line_now_and_then_and_one_at_the_end(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with progress("painting") as advance:
        for done in range(41):
            advance(done, 40, "fine")
            now[0] += 1.0
    assert capsys.readouterr().out.splitlines() == [
        "painting: 0/40 after 0:00  fine",
        "painting: 10/40 after 0:10, about 0:30 left  fine",
        "painting: 20/40 after 0:20, about 0:20 left  fine",
        "painting: 30/40 after 0:30, about 0:10 left  fine",
        "painting: 40/40 after 0:40  fine",
    ]


def test_a_continued_run_estimates_from_where_it_continued(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with progress("training") as advance:
        advance(90, 100)
        now[0] += 10.0
        advance(91, 100)
    assert capsys.readouterr().out.splitlines()[1] == "training: 91/100 after 0:10, about 1:30 left"


def test_on_a_terminal_progress_is_a_bar_with_its_note(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with progress("painting") as advance:
        advance(1, 2, "half [of] it")
        advance(2, 2, "all [of] it")
    out = capsys.readouterr().out
    assert "painting" in out
    assert "2/2" in out
    assert "all [of] it" in out


def test_hours_are_shown_from_one_hour_on():
    assert [clock(seconds) for seconds in (0, 59.6, 61, 3600, 36061)] == ["0:00", "1:00", "1:01", "1:00:00", "10:01:01"]
