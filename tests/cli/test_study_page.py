"""The page as a rater meets it, in headless Chromium: from the first key to the file of answers, and to the figures."""

import csv
import json

import pytest
import torch
from tests.chromium import PROGRAM, Chromium

from latentloom.data.video import write_video

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium on this machine")
READY = "!document.querySelector('[data-answer=left]').disabled"
TIE, RIGHT, LEFT = "ArrowDown", "ArrowRight", "ArrowLeft"
ANSWERS = {TIE: "tie", RIGHT: "right", LEFT: "left"}


@pytest.fixture
def study(latentloom, tmp_path):
    """Five pairs of a red and a blue method, with a bar that moves."""
    for channel, method in ((0, "red"), (2, "blue")):
        (tmp_path / method).mkdir()
        for number in range(5):
            frames = torch.full((12, 64, 128, 3), 30, dtype=torch.uint8)
            frames[..., channel] = 160 + 15 * number
            for t in range(12):
                frames[t, :, 8 * t : 8 * t + 12] = 240
            write_video(frames, tmp_path / method / f"drive{number}.mp4", 12)
    made = latentloom("study", "make", tmp_path / "red", tmp_path / "blue", "-o", tmp_path / "study", "--pairs", 5)
    assert made.code == 0, made.err
    return tmp_path / "study"


@pytest.fixture
def browser(tmp_path):
    with Chromium(tmp_path / "chromium") as browser:
        yield browser


def begin(browser, study, rater):
    browser.go(study / "page" / "index.html")
    browser.type(rater)
    browser.press("Enter")


def shown(browser):
    """The files on the left and on the right, once both play."""
    browser.wait(READY)
    name = "document.getElementById('{}').src.split('/').pop().slice(0, 12)"
    return [browser.value(name.format(side)) for side in ("left", "right")]


def position(browser):
    return browser.value("document.getElementById('where').textContent")


def saved(browser, rater):
    with browser.downloaded(f"answers-{rater}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def faults(browser):
    """Whatever the page complained of or asked the network for."""
    browser.value("1")
    said = [e["params"] for e in browser.events if e["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]
    asked = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    return said + [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))]


def test_a_rater_goes_from_the_first_key_to_the_figures(browser, study, latentloom):
    begin(browser, study, "anna")
    seen = []
    for key in (LEFT, RIGHT, TIE, LEFT, RIGHT):
        seen.append((*shown(browser), ANSWERS[key]))
        assert browser.value("['left', 'right'].every(side => !document.getElementById(side).paused)")
        browser.press(key)
    browser.wait("!document.getElementById('end').hidden")
    browser.click("#save")
    rows = saved(browser, "anna")
    assert [(row["left"], row["right"], row["answer"]) for row in rows] == seen
    assert all(row["rater"] == "anna" and float(row["seconds"]) >= 0 for row in rows)
    assert faults(browser) == []
    result = latentloom("study", "result", study, browser.downloads / "answers-anna.csv")
    assert result.code == 0, result.err
    key = json.loads((study / "key.json").read_text())
    method = {video["id"]: video["method"] for pair in key["pairs"] for video in pair["videos"]}
    assert sum(method[left] == "red" for left, _, _ in seen) in (2, 3), "of five pairs"
    red = sum(0.5 if a == "tie" else method[left if a == "left" else right] == "red" for left, right, a in seen)
    assert "red over blue" in result.out and f"{20 * red:.1f} %" in result.out


def test_answers_can_be_changed_paused_and_taken_up_again(browser, study):
    begin(browser, study, "boris")
    first = shown(browser)
    browser.click("[data-answer=right]")
    second = shown(browser)
    assert second != first and position(browser).startswith("pair 2 of 5")
    browser.press("b")
    browser.wait("document.getElementById('where').textContent.startsWith('pair 1')")
    assert shown(browser) == first and "answered before: right" in position(browser)
    browser.press(LEFT)
    assert shown(browser) == second
    browser.press("p")
    browser.wait("document.getElementById('left').paused && document.getElementById('right').paused")
    browser.press("r")
    browser.wait("!document.getElementById('left').paused && document.getElementById('left').currentTime < 0.9")
    browser.press(TIE)
    third = shown(browser)
    begin(browser, study, "boris")
    assert shown(browser) == third and position(browser).startswith("pair 3 of 5")
    browser.click("#save-early")
    rows = saved(browser, "boris")
    assert [(row["left"], row["right"], row["answer"]) for row in rows] == [(*first, "left"), (*second, "tie")]
    assert faults(browser) == []


def orders(browser, study, rater):
    """What a rater would be shown: pair, left, right."""
    begin(browser, study, rater)
    shown(browser)
    return [tuple(row) for row in browser.value("order.map(item => [item.pair, item.left.id, item.right.id])")]


def test_raters_see_all_pairs_in_orders_of_their_own_and_a_method_on_the_left_in_half_of_them(browser, study):
    key = json.loads((study / "key.json").read_text())
    method = {video["id"]: video["method"] for pair in key["pairs"] for video in pair["videos"]}
    seen = {rater: orders(browser, study, rater) for rater in ("anna", "boris", "chen")}
    for order in seen.values():
        assert {pair for pair, _, _ in order} == {pair["id"] for pair in key["pairs"]}
        assert sum(method[left] == "red" for _, left, _ in order) in (2, 3), "of five pairs"
    assert len({tuple(pair for pair, _, _ in order) for order in seen.values()}) > 1
    assert len({frozenset(order) for order in seen.values()}) == 2, "all sides are turned, or none"
    assert orders(browser, study, "anna") == seen["anna"]


def test_nothing_is_counted_before_both_videos_play_and_a_missing_one_is_told(browser, study):
    for path in (study / "page").glob("*.mp4"):
        path.unlink()
    begin(browser, study, "chen")
    browser.wait("document.getElementById('trouble').textContent.includes('cannot be played')")
    browser.press(LEFT)
    assert position(browser).startswith("pair 1 of 5") and not browser.value(READY)


def test_names_that_a_spreadsheet_would_compute_are_refused(browser, study):
    begin(browser, study, "=1+1")
    assert "begins with a letter" in browser.value("document.getElementById('fault').textContent")
    assert browser.value("document.getElementById('rating').hidden")
