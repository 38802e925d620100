"""One process at a time in a folder that several could write to: training runs, journals of generations."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder, made where it is missing, for this process; one that ends, however, holds it no longer.

    Raises:
        ValueError: another living process works here, or the folder cannot be written.
    """
    lock = folder / "run.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _held(lock)
    except OSError as error:
        raise ValueError(f"{folder} cannot be written ({error.strerror}); choose another output folder") from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)  # still ours; whoever has it open notices in `_held` that it is gone
        os.close(descriptor)


def _held(lock: Path) -> int:
    """The descriptor with which this process holds ``lock`` until it is closed.

    ``lockf``, because the system gives such a lock back with the process itself: forked data workers, which outlive a
    killed trainer by seconds, would inherit one of ``flock``.
    """
    while True:
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # POSIX allows either for a lock that is held
            with os.fdopen(descriptor) as file:
                owner = file.read(20) or "(starting)"
            raise ValueError(f"{lock.parent} is in use by process {owner}; choose another output folder") from None
        if _is_the_file(descriptor, lock):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
            return descriptor
        os.close(descriptor)  # its owner ended and removed it after we had opened it


def _is_the_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
