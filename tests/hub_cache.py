"""A cache of the Hub as downloads leave it."""

import shutil
from pathlib import Path


def put(cache: Path, name: str, folder: Path) -> None:
    """A folder into the cache as a download leaves it."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "blobs").mkdir()
    for number, path in enumerate(path for path in sorted(folder.rglob("*")) if path.is_file()):
        blob, link = repository / "blobs" / str(number), repository / "snapshots" / "abc" / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blob)
        link.symlink_to(blob)
