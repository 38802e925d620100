"""The page of a blind pairwise study: one HTML text with everything in it but the videos, which lie beside the file.

It needs no server and no network (its policy forbids both), knows opaque names only, and keeps answers in the browser
until the rater saves them as CSV. Order and sides are drawn from the study's id and the rater's name: who comes back
sees the same study, two raters see different ones, and each sees as many pairs one way round as the other.
Not here: which pairs there are (``study_design``), what becomes of the answers (``study``).
"""

import html
import json
from pathlib import PurePath

from latentloom.evaluation.study_design import Study, StudyVideo
from latentloom.files import printable

COLUMNS = ("study", "pair", "left", "right", "answer", "seconds", "rater")
"""Of the CSV that the page saves."""
SUFFIXES = (".mp4", ".webm")
"""Of videos that browsers show."""


def study_page(study: Study) -> str:
    """The page, which expects each video beside it under the name of ``shown_file``.

    Raises:
        ValueError: a video of a kind that browsers do not show.
    """
    pairs = [
        {"id": pair.id, "videos": [{"id": video.id, "file": shown_file(video)} for video in pair.videos]}
        for pair in study.pairs
    ]
    content = {"study": study.id, "columns": COLUMNS, "pairs": pairs}
    data = json.dumps(content).replace("<", "\\u003c")  # nothing in it can end the script element
    body = _BODY.replace("{{question}}", html.escape(study.question)).replace("{{count}}", str(len(pairs)))
    return f"{_HEAD}<style>{_STYLE}</style>\n{body}<script type=application/json id=study>{data}</script>\n{_SCRIPT}"


def shown_file(video: StudyVideo) -> str:
    """The name of a video's file beside the page.

    Raises:
        ValueError: a video of a kind that browsers do not show.
    """
    suffix = PurePath(video.source).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{printable(video.source)}: browsers show {' and '.join(SUFFIXES)}; convert it first")
    return video.id + suffix


_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; media-src 'self' file:; img-src data:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Which of two videos?</title>
<link rel="icon" href="data:,">
"""

_STYLE = """
:root { color-scheme: light dark; --line: #c9c9c9; --soft: #5c5c5c; --panel: #f4f4f4; --mark: #0b57d0; }
@media (prefers-color-scheme: dark) { :root { --line: #4a4a4a; --soft: #b0b0b0; --panel: #242424; --mark: #8ab4f8; } }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { font: 17px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1500px; padding: 1rem; }
h1 { font-size: 1.5rem; margin: .2rem 0 .8rem; text-align: center; }
.text { max-width: 38rem; margin: 2rem auto; }
.text h1 { text-align: left; }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
figure { margin: 0; }
video { display: block; width: 100%; aspect-ratio: var(--ratio, 2); max-height: 62vh; object-fit: contain; }
video { background: #000; border-radius: 6px; }
.row { display: flex; flex-wrap: wrap; gap: .7rem; align-items: center; justify-content: center; margin: 1rem 0; }
.answers { display: grid; grid-template-columns: 1fr auto 1fr; gap: 1rem; margin: 1rem 0; }
button, input { font: inherit; color: inherit; padding: .5rem .9rem; }
button, input { border: 1px solid var(--line); border-radius: 6px; }
button { background: var(--panel); cursor: pointer; }
button:hover:enabled { border-color: var(--mark); }
button:disabled { opacity: .45; cursor: default; }
button.main { background: var(--mark); color: Canvas; border-color: var(--mark); }
:focus-visible { outline: 3px solid var(--mark); outline-offset: 2px; }
h1:focus { outline: none; }
input { background: Canvas; width: 18rem; max-width: 100%; margin-top: .4rem; }
kbd { font: .85em ui-monospace, monospace; border: 1px solid var(--line); border-radius: 4px; padding: 0 .35em; }
progress { width: 100%; height: .5rem; accent-color: var(--mark); }
.soft { color: var(--soft); font-size: .9rem; }
.fault { color: #b3261e; font-weight: 600; }
@media (prefers-color-scheme: dark) { .fault { color: #f2b8b5; } }
"""

_BODY = """
<main>
<form id="start" class="text">
  <h1>{{question}}</h1>
  <p>You will see {{count}} pairs of short videos, side by side and without sound. For each, answer the question above.
  If you cannot say, answer “no difference”. There are no right answers; the first impression counts.</p>
  <p>Keys: <kbd>←</kbd> left, <kbd>→</kbd> right, <kbd>↓</kbd> no difference, <kbd>B</kbd> back one pair,
  <kbd>R</kbd> play both from the start, <kbd>P</kbd> pause.</p>
  <p><label for="rater">Your name, or any name of your own</label><br>
  <input id="rater" required maxlength="40" autocomplete="off" aria-describedby="hint fault"></p>
  <p id="hint" class="soft">It is written into your answers, so that they count once. Nothing is sent anywhere: answers
  stay in this browser until you save them. Who comes back under the same name goes on where they were.</p>
  <p id="fault" class="fault" role="alert"></p>
  <button class="main">Begin</button>
</form>

<section id="rating" hidden aria-labelledby="question">
  <progress id="bar" aria-label="answered pairs"></progress>
  <h1 id="question">{{question}}</h1>
  <div class="sides">
    <figure><video id="left" muted loop playsinline preload="auto" aria-label="left video"></video></figure>
    <figure><video id="right" muted loop playsinline preload="auto" aria-label="right video"></video></figure>
  </div>
  <div class="answers">
    <button type="button" data-answer="left" aria-keyshortcuts="ArrowLeft"><kbd>←</kbd> left</button>
    <button type="button" data-answer="tie" aria-keyshortcuts="ArrowDown"><kbd>↓</kbd> no difference</button>
    <button type="button" data-answer="right" aria-keyshortcuts="ArrowRight">right <kbd>→</kbd></button>
  </div>
  <p id="trouble" class="fault" role="alert"></p>
  <div class="row">
    <button type="button" id="back" aria-keyshortcuts="B"><kbd>B</kbd> back</button>
    <button type="button" id="replay" aria-keyshortcuts="R"><kbd>R</kbd> from the start</button>
    <button type="button" id="pause" aria-keyshortcuts="P"><kbd>P</kbd> pause</button>
    <button type="button" id="save-early">save answers so far</button>
  </div>
  <p id="where" class="soft row" role="status"></p>
</section>

<section id="end" class="text" hidden>
  <h1 id="thanks" tabindex="-1">Thank you, that was all.</h1>
  <p>Save your answers and send the file to whoever gave you this page.</p>
  <p id="told" class="soft" role="status"></p>
  <div class="row" style="justify-content: start">
    <button type="button" id="save" class="main">Save answers</button>
    <button type="button" id="reopen">back to the last pair</button>
    <button type="button" id="other">another rater</button>
  </div>
</section>
<noscript class="text">This page needs JavaScript; it loads nothing from anywhere.</noscript>
</main>
"""

_SCRIPT = r"""<script>
"use strict";
const STUDY = JSON.parse(document.getElementById("study").textContent);
const $ = id => document.getElementById(id);
const SIDES = ["left", "right"];
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie" };
let rater = "", order = [], at = 0, answers = {}, began = null, kept = true, shown = 0;

// FNV-1a of a text starts mulberry32: random enough to shuffle, the same in every browser
function draws(text) {
  let h = 2166136261;
  for (const byte of new TextEncoder().encode(text)) h = Math.imul(h ^ byte, 16777619);
  return () => {
    h = (h + 0x6D2B79F5) | 0;
    let t = Math.imul(h ^ (h >>> 15), 1 | h);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffled(items, draw) {
  items = [...items];
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(draw() * (i + 1));
    [items[i], items[j]] = [items[j], items[i]];
  }
  return items;
}

// each method is first in half of its pairs, so that a rater who likes one side prefers no method by it; turned round
// all together or not at all, they stay so
function orderFor(name) {
  const draw = draws(STUDY.study + "|" + name), turned = draw() < 0.5;
  return shuffled(STUDY.pairs, draw).map(pair => {
    const [first, second] = pair.videos;
    return { pair: pair.id, left: turned ? second : first, right: turned ? first : second };
  });
}

const place = () => "latentloom-study-" + STUDY.study + "-" + rater;
function keep() {
  try { localStorage.setItem(place(), JSON.stringify(answers)); } catch { kept = false; }
}
function recall() {
  try { return JSON.parse(localStorage.getItem(place())) || {}; } catch { kept = false; return {}; }
}

function open_(section) {
  for (const id of ["start", "rating", "end"]) $(id).hidden = id !== section;
  if (section === "rating") return;
  began = null;
  for (const side of SIDES) { $(side).removeAttribute("src"); $(side).load(); }
}

function begin(event) {
  event.preventDefault();
  rater = $("rater").value.normalize("NFC").trim();
  if (!/^[\p{L}\p{N}][\p{L}\p{N} ._-]{0,39}$/u.test(rater)) {
    $("fault").textContent = "A name begins with a letter or digit and holds letters, digits, blanks, . _ - only.";
    return;
  }
  $("fault").textContent = "";
  order = orderFor(rater);
  answers = recall();
  at = order.findIndex(item => !answers[item.pair]);
  if (document.activeElement) document.activeElement.blur();
  if (at < 0) { at = order.length - 1; finish(); } else show();
}

// answers count from the moment both videos play; until then keys and buttons do nothing
function show() {
  open_("rating");
  const token = ++shown, item = order[at];
  began = null;
  enable(false);
  $("trouble").textContent = "";
  const done = Object.keys(answers).length, given = answers[item.pair];
  $("bar").max = order.length;
  $("bar").value = done;
  $("where").textContent = `pair ${at + 1} of ${order.length}, rater ${rater}` +
    (given ? `, answered before: ${given.answer === "tie" ? "no difference" : given.answer}` : "") +
    (kept ? "" : "; this browser keeps nothing: save your answers before you close the page");
  $("back").disabled = at === 0;
  $("save-early").disabled = !done;
  const loaded = SIDES.map(side => new Promise((resolve, reject) => {
    const video = $(side);
    video.oncanplay = resolve;
    video.onerror = () => reject(side);
    video.src = item[side].file;
    video.load();
  }));
  Promise.all(loaded).then(() => token === shown && play(true), side => token === shown && fail(side, item));
  const next = order[at + 1];
  if (next) for (const side of SIDES) fetchAhead(next[side].file);
}

function fetchAhead(file) {
  const video = document.createElement("video");
  video.preload = "auto";
  video.muted = true;
  video.src = file;
}

function fail(side, item) {
  $("trouble").textContent = `The ${side} video (${item[side].file}) cannot be played: it must lie beside this page. ` +
    "Tell whoever gave you the page, or try another browser.";
}

// both get one box, that of the taller picture: its size must not tell them apart, nor jump from pair to pair
function fit() {
  const ratios = SIDES.map(side => $(side).videoWidth / $(side).videoHeight).filter(Number.isFinite);
  if (ratios.length) $("rating").style.setProperty("--ratio", Math.min(...ratios));
}

function play(first) {
  fit();
  for (const side of SIDES) { if (first) $(side).currentTime = 0; $(side).play().catch(() => {}); }
  $("pause").lastChild.textContent = " pause";
  if (began === null) { began = performance.now(); enable(true); }
}

function pause() {
  if (began === null) return;
  if ($("left").paused) return play(false);
  for (const side of SIDES) $(side).pause();
  $("pause").lastChild.textContent = " go on";
}

function enable(on) {
  for (const button of document.querySelectorAll("[data-answer]")) button.disabled = !on;
}

function answer(given) {
  if (began === null) return;
  const before = answers[order[at].pair], seconds = (performance.now() - began) / 1000 + (before ? before.seconds : 0);
  answers[order[at].pair] = { answer: given, seconds: Math.round(seconds * 100) / 100 };
  keep();
  if (at + 1 < order.length) { at++; show(); } else finish();
}

function back() {
  if (at > 0) { at--; show(); }
}

function finish() {
  const open = order.findIndex(item => !answers[item.pair]);  // none, unless storage was tampered with
  if (open >= 0) { at = open; return show(); }
  shown++;
  open_("end");
  $("told").textContent = `${order.length} answers of ${rater}, in ${fileName()}`;
  $("thanks").focus();
}

const fileName = () => "answers-" + rater.replace(/[^\p{L}\p{N}._-]/gu, "_") + ".csv";
function csv() {
  const rows = order.filter(item => answers[item.pair]).map(item => {
    const { answer, seconds } = answers[item.pair];
    return [STUDY.study, item.pair, item.left.id, item.right.id, answer, seconds.toFixed(2), rater].join(",");
  });
  return [STUDY.columns.join(","), ...rows].join("\r\n") + "\r\n";
}
function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = fileName();
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

$("start").addEventListener("submit", begin);
for (const button of document.querySelectorAll("[data-answer]"))
  button.addEventListener("click", () => { button.blur(); answer(button.dataset.answer); });
$("back").addEventListener("click", back);
$("replay").addEventListener("click", () => began !== null && play(true));
$("pause").addEventListener("click", pause);
$("save").addEventListener("click", save);
$("save-early").addEventListener("click", save);
$("reopen").addEventListener("click", show);
$("other").addEventListener("click", () => { open_("start"); $("rater").value = ""; $("rater").focus(); });
document.addEventListener("keydown", event => {
  if ($("rating").hidden || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  const act = { b: back, r: () => began !== null && play(true), p: pause }[event.key.toLowerCase()];
  if (KEYS[event.key]) { event.preventDefault(); answer(KEYS[event.key]); } else if (act) act();
});
window.addEventListener("beforeunload", event => {
  if (!kept && Object.keys(answers).length) event.preventDefault();
});
$("rater").focus();
</script>
</html>
"""
