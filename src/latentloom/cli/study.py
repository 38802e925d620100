"""``latentloom study``: which videos people prefer, blindly, pair by pair (paper, Sec. 4, user study)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latentloom.cli.options import Force, check_output_folder, check_outputs
from latentloom.cli.progress import progress
from latentloom.cli.tables import print_table
from latentloom.files import one_line, write_text

if TYPE_CHECKING:
    from latentloom.data.decoding import VideoHeader
    from latentloom.evaluation.study import StudyFigures

app = typer.Typer(help="A blind study: which of two videos people prefer.", no_args_is_help=True, rich_markup_mode=None)
PAPER_RATERS = 4


@app.command("make")
def make(
    methods: Annotated[
        list[Path], typer.Argument(help="Two or more folders of videos; a method is named by its folder.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The study folder to write.")],
    pairs: Annotated[int, typer.Option(help="Pairs of each two methods.")] = 50,
    question: Annotated[str, typer.Option(help="What raters are asked.")] = "Which video looks more real?",
    seed: Annotated[int, typer.Option(help="The same seed and videos give the same study.")] = 0,
) -> None:
    """Write a page on which people compare videos without knowing whose they are.

    Videos of one name are paired with each other, others at random. Hand out STUDY/page alone: STUDY/key.json says
    which video is whose.
    """
    check_output_folder(output)
    if output.exists() and any(output.iterdir()):
        raise ValueError(
            f"{output} is not empty; choose another output folder, answers belong to the study they came from"
        )
    if not output.absolute().parent.is_dir():
        raise ValueError(f"{output.absolute().parent} is no folder to write {output.name} into; make it first")
    if not question.strip() or not question.isprintable() or len(question) > 500:
        raise ValueError("--question is no single line of 1 to 500 characters")
    from latentloom.cli.study_folder import method_folders, video_digests, write_study
    from latentloom.evaluation.study_design import designed

    folders = method_folders(methods)
    digests = {method: video_digests(folder) for method, folder in folders.items()}
    study = designed(digests, question=question, num_pairs=pairs, seed=seed)
    headers = write_study(study, folders, output, progress)
    print(f"{len(study.pairs)} pairs, {study.num_matched} matched by name, the others at random")
    _tell_differences(headers)
    print(f"hand out {output / 'page'} (raters open index.html); keep {output / 'key.json'} to yourself")
    print(f"then: latentloom study result {output} answers-*.csv")


def _tell_differences(headers: "Mapping[str, Sequence[VideoHeader]]") -> None:
    """Say by what raters could tell methods apart without looking at the pictures."""
    looks = {
        "size": lambda header: f"{header.height}x{header.width}",
        "frame rate": lambda header: f"{float(header.rate):.4g}",
        "number of frames": lambda header: f"{header.num_frames}",
    }
    for name, look in looks.items():
        seen = {method: sorted({look(header) for header in videos}) for method, videos in headers.items()}
        if len({tuple(values) for values in seen.values()}) > 1:
            told = "; ".join(f"{one_line(method)}: {', '.join(values[:4])}" for method, values in seen.items())
            print(f"not quite blind: methods differ in {name} ({told})")


@app.command("result")
def result(
    study: Annotated[Path, typer.Argument(help="The folder that `study make` wrote.")],
    answers: Annotated[list[Path], typer.Argument(help="The files that raters saved.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the figures here as JSON.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Count raters who did not answer every pair.")] = False,
    force: Force = False,
) -> None:
    """Who is preferred how often, how sure that is, and how far raters agree.

    Ties count as half a vote for each. Intervals are of 95 %, by a bootstrap over pairs; p is that of a sign test over
    pairs, of which those with equally many votes for both are left out.
    """
    if output is not None:
        check_outputs([output], force=force)
    from latentloom.cli.study_folder import read_study, read_votes
    from latentloom.evaluation.study import study_figures

    known = read_study(study)
    figures = study_figures(read_votes(answers, known, partial=partial), known.methods)
    _print(figures)
    if output is not None:
        report = {"study": known.id, "question": known.question, **figures.to_dict()}
        write_text(output, json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def _print(figures: "StudyFigures") -> None:
    rows = [
        (
            f"{one_line(each.first)} over {one_line(each.second)}",
            _percent(each.share),
            f"{_percent(each.interval.low)} to {_percent(each.interval.high)}",
            f"{each.p_value:.3g}",
            f"{each.votes_first} / {each.ties} / {each.votes_second}",
            f"{each.pairs_won} / {each.pairs_split} / {each.pairs_lost}",
        )
        for each in figures.comparisons
    ]
    print_table(
        ("preferred", "share", "95 % interval", "p", "votes won / tied / lost", "pairs won / split / lost"), rows
    )
    for each in figures.comparisons:
        value = "not defined (one rater, or one answer only)" if each.coefficient is None else f"{each.coefficient:.3f}"
        print(f"{one_line(each.first)} and {one_line(each.second)}: {each.agreement} {value}")
        if each.interval.method == "hoeffding":
            print("  few pairs or all of one share: the interval is Hoeffding's bound, a bootstrap claims too much")
    if len(figures.comparisons) > 1:
        print(f"p is of each comparison alone, not corrected for there being {len(figures.comparisons)}")
    _print_raters(figures)


def _print_raters(figures: "StudyFigures") -> None:
    shares = [f"{one_line(each.first)} over {one_line(each.second)}" for each in figures.comparisons]
    rows = [
        (
            each.rater,
            *("-" if share is None else _percent(share) for share in each.shares),
            each.votes,
            each.ties,
            _percent(each.left_share),
            f"{each.seconds:.1f} s",
        )
        for each in figures.raters
    ]
    print_table(("rater", *shares, "answers", "ties", "left", "median time"), rows)
    if len(figures.raters) < PAPER_RATERS:
        print(f"{len(figures.raters)} raters; the paper has {PAPER_RATERS} for each pair")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
