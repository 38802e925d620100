"""Plain aligned tables on stdout, the same on a terminal and in a file."""

from collections.abc import Sequence

from latentloom.files import one_line


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their widest cell; numbers to the right, texts to the left. No heads, no head line."""
    body = [[_shown(cell) for cell in row] for row in rows]
    right = [all(isinstance(cell, int | float) for cell in column) for column in zip(*rows, strict=True)]
    lines = [list(heads), *body] if any(heads) else body
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.rjust(width) if to_the_right else cell.ljust(width)
            for cell, width, to_the_right in zip(line, widths, right, strict=True)
        ]
        print("  " + "  ".join(cells).rstrip())


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.3f}"
    return f"{cell:,}" if isinstance(cell, int) else one_line(str(cell))
