"""``latentloom evaluate explain A.json B.json``: what two results were measured with differently."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

MAX_BYTES = 256 << 20
MAX_SHOWN = 60
MAX_FILES = 5
SINGLE_FILES = (".files.", ".made.videos.", ".members.")
"""Parts of fields of which there are many; ``MAX_FILES`` of each kind of weight are shown."""
SHOWN_OF_A_HASH = 12
SCHEMA = 3
"""Of what ``evaluate -o`` writes; 1 had no such field, until 2 KID counted pairs within one video, too."""
NUMBERS = (
    ("FVD", ("fvd", "distance")),
    ("FID", ("fid", "distance")),
    ("KID", ("kid", "mean")),
    ("KID, own features", ("own_kid", "mean")),
    ("inception score of frames", ("inception_score", "fake", "mean")),
    ("inception score of clips, C3D", ("c3d_inception_score", "fake", "mean")),
    ("CLIPSIM", ("clipsim", "fake", "mean")),
    ("Frechet distance, own features", ("frechet", "distance")),
    ("frame difference, generated over real", ("frame_difference_ratio",)),
    ("warp error, generated", ("fake", "warp_error")),
    ("flicker power, brightness, generated", ("fake", "brightness_flicker")),
    ("flicker power, pixels, generated", ("fake", "pixel_flicker")),
    ("diversity, features", ("diversity", "fake", "features")),
    ("nearest training clip, median", ("memorisation", "clips", "fake", "median")),
    ("PSNR, dB", ("psnr",)),
)
HEADS = ("usually matters", "sometimes matters", "rarely matters")


def explain(
    first: Annotated[Path, typer.Argument(metavar="A.json", help="A result of `evaluate REAL FAKE -o A.json`.")],
    second: Annotated[Path, typer.Argument(metavar="B.json", help="Another one.")],
) -> None:
    """Tell why two results differ: the numbers, then what they were measured with, what usually matters first."""
    reports = _report(first), _report(second)
    if reports[0].get("schema") != reports[1].get("schema"):
        print("written by different versions of evaluate: fields may be called and figures defined otherwise")
    from latentloom.cli.tables import print_table
    from latentloom.evaluation.receipt import differences

    numbers = [(title, *(_number(report, path) for report in reports)) for title, path in NUMBERS]
    shown = [row for row in numbers if row[1:] != ("-", "-")]
    if shown:
        print_table(("", first.name, second.name), shown)
    found = differences(reports[0]["receipt"], reports[1]["receipt"])
    if not [difference for difference in found if difference.field != "created"]:
        print("measured alike: the receipts agree in every field")
        return
    for weight, head in enumerate(HEADS):
        rows = [
            (one.field, _shown(one.first), _shown(one.second), one.why) for one in found if one.weight.value == weight
        ]
        files = [row for row in rows if any(part in row[0] for part in SINGLE_FILES)]
        rest = len(files) - MAX_FILES
        hidden = {row[0] for row in files[MAX_FILES:]}
        rows = [row for row in rows if row[0] not in hidden]
        if rows:
            print(f"{head}:")
            print_table(("", first.name, second.name, ""), rows)
        if rest > 0:
            print(f"  and {rest} more of single files")


def _report(path: Path) -> dict[str, Any]:
    """A result with its receipt. Raises ``ValueError``."""
    from latentloom.files import names_once, printable

    if not path.is_file():
        raise ValueError(f"{printable(path)}: no such file; `latentloom evaluate REAL FAKE -o FILE` writes one")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{printable(path)} is larger than {MAX_BYTES >> 20} MiB, no result of evaluate is")
    try:
        report = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=names_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{printable(path)} is no JSON ({error}); give what `evaluate REAL FAKE -o FILE` wrote"
        ) from None
    if not isinstance(report, dict) or not isinstance(report.get("receipt"), dict):
        raise ValueError(
            f"{printable(path)} holds no receipt of an evaluation; judge again with `latentloom evaluate REAL FAKE -o"
            " FILE`"
        )
    if report.get("schema", 1) not in range(1, SCHEMA + 1):
        raise ValueError(
            f"{printable(path)} was written by a newer version (its schema is {report['schema']!r:.40}, known are 1 to"
            f" {SCHEMA}); update latentloom or judge again"
        )
    return report


def _number(report: dict[str, Any], path: tuple[str, ...]) -> str:
    value: Any = report
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return f"{value:.5g}" if isinstance(value, int | float) else "-"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if re.fullmatch(r"[0-9a-f]{64}", text):  # a hash: its beginning tells two apart
        return text[:SHOWN_OF_A_HASH]
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
