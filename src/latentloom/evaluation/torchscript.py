"""Networks that a user names as TorchScript files: I3D for FVD, Inception for FID.

A TorchScript file is code from a stranger: it computes what it likes, may run for ever and can touch files. Nothing is
loaded that the user did not name; its sha256 is known before, and the very bytes that were hashed are what is loaded.
Not here: what the networks are given (``fvd``, ``fid``).
"""

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentloom.files import one_line

MAX_BYTES = 2 << 30


@dataclass(frozen=True, kw_only=True)
class NetworkFile:
    """The bytes of a named file and their ``sha256``; nothing of it has run yet."""

    path: Path
    content: bytes
    sha256: str


@dataclass(frozen=True, kw_only=True, eq=False)
class ScriptedNetwork:
    """A loaded network: callable, in evaluation mode, on ``device``."""

    name: str
    sha256: str
    module: torch.jit.ScriptModule
    device: torch.device

    def __call__(self, *inputs: Tensor, rows: int, call: str, **options: bool) -> Tensor:
        """What the network says, float32 ``rows d`` on the CPU.

        Args:
            call: the call as its documentation writes it, for the message of a network that cannot be called so.

        Raises:
            ValueError: it cannot be called so, or gives no finite vector per input.
        """
        try:
            with _exact(), torch.no_grad():
                result = self.module(*(tensor.to(self.device) for tensor in inputs), **options)
        except (RuntimeError, torch.jit.Error) as error:  # the second is what the file's own code raises
            if "memory" in str(error):
                raise
            raise ValueError(f"{self.name} cannot be called as {call}: {_reason(error)}") from None
        if not isinstance(result, Tensor) or result.ndim != 2 or len(result) != rows:
            shown = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise ValueError(
                f"{self.name} gives {shown} for {rows} inputs, expected a vector each: is it the right file?"
            )
        if not bool(result.isfinite().all()):
            raise ValueError(f"{self.name} gives features that are not finite; is it the right file?")
        return result.float().cpu()


def read_network_file(path: Path, *, option: str, sha256: str | None = None) -> NetworkFile:
    """Read a file that the user named with ``option`` (``--i3d``) and check its hash, without running it.

    Raises:
        ValueError: no such file, larger than 2 GiB, a hash that is none, or another hash than ``sha256``.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"{option}-sha256 is {sha256[:80]!r}, expected 64 hexadecimal digits (sha256sum FILE)")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {option} names a TorchScript file you have fetched (docs/metrics.md)")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} is larger than {MAX_BYTES >> 30} GiB; {option} expects the weights of one network")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise ValueError(
            f"{path} has sha256 {digest}, {option}-sha256 says {sha256.lower()}: it was not loaded; fetch it again"
        )
    return NetworkFile(path=path, content=content, sha256=digest)


def load_network(file: NetworkFile, device: torch.device | str = "cpu") -> ScriptedNetwork:
    """Load the network of a file: from here on a stranger's code runs.

    Raises:
        ValueError: no TorchScript file, or a damaged one.
    """
    try:
        module = torch.jit.load(io.BytesIO(file.content), map_location=device)
    except (RuntimeError, torch.jit.Error) as error:
        raise ValueError(f"{file.path} is no readable TorchScript file ({_reason(error)}); fetch it again") from None
    return ScriptedNetwork(name=file.path.name, sha256=file.sha256, module=module.eval(), device=torch.device(device))


@contextmanager
def _exact() -> Iterator[None]:
    """The same operations at every call, in full float32: TorchScript rewrites a network after its first calls."""
    with (
        torch.jit.optimized_execution(False),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
    ):
        yield


def _reason(error: Any) -> str:
    """The last telling line of a TorchScript error, whose first ones are a traceback of the file's own code."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line]
    return one_line((telling or lines or ["no reason given"])[-1])[:200]
