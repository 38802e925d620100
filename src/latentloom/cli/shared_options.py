"""One dataclass of options for several commands: ``takes`` makes each field an option of the command."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

Command = Callable[..., None]


def takes(kind: type) -> Callable[[Command], Command]:
    """``command(..., options: kind)`` as one that typer sees with an option per field of the dataclass ``kind``."""
    shared = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=field.type,
        )
        for field in fields(kind)
    ]

    def decorated(command: Command) -> Command:
        own = [parameter for parameter in inspect.signature(command).parameters.values() if parameter.name != "options"]

        @functools.wraps(command)
        def wrapped(**given: Any) -> None:
            options = kind(**{parameter.name: given.pop(parameter.name) for parameter in shared})
            command(**given, options=options)

        parameters = [*(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own), *shared]
        wrapped.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return wrapped

    return decorated
