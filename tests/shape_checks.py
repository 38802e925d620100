"""The run-time check of shapes and types: beartype on what jaxtyping annotates, see ``addopts`` in pyproject.toml."""

from collections.abc import Callable
from typing import Any, Self, get_args

from beartype import BeartypeConf, beartype

CHECKER = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int may stand where a float is asked for


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """beartype, but for annotations it cannot check; those count as ``Any``."""
    hints = getattr(function, "__annotations__", {})
    for name in [name for name, hint in hints.items() if not is_checkable(hint)]:
        hints[name] = Any
    return CHECKER(function)


def is_checkable(hint: object) -> bool:
    """Neither ``Self``, which beartype knows in classes it decorates whole, nor a Protocol without run-time checks."""
    if hint is Self or (getattr(hint, "_is_protocol", False) and not getattr(hint, "_is_runtime_protocol", False)):
        return False
    return all(map(is_checkable, get_args(hint)))
