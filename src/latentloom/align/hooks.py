"""What acts inside a network's own calls: hooks on its sites, and its checkpoint functions made aware of the clip.

Nothing here registers a hook (``aligned`` does); traps are in docs/decisions/0001-sites-and-hooks.md.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latentloom.align.streaming import Stream
from latentloom.layers.base import Clip


class Binding:
    """The clip in progress. Hooks and checkpoint functions share one; a deep copy copies them together."""

    def __init__(self) -> None:
        self.clip: Clip | None = None
        self.stream: Stream | None = None
        self.checkpoints_layers = False
        self.in_checkpoint = False

    @contextmanager
    def streaming(self, stream: Stream) -> Iterator[None]:
        """Within the block hooks act for the next chunk of ``stream``."""
        with self.bound(stream.clip):
            self.stream = stream
            try:
                yield
            finally:
                self.stream = None

    @contextmanager
    def bound(
        self, clip: Clip | None, *, checkpoints_layers: bool = False, in_checkpoint: bool = False
    ) -> Iterator[None]:
        """Within the block hooks act for ``clip``; None switches them off."""
        before = self.clip, self.checkpoints_layers, self.in_checkpoint
        self.clip, self.checkpoints_layers, self.in_checkpoint = clip, checkpoints_layers, in_checkpoint
        try:
            yield
        finally:
            self.clip, self.checkpoints_layers, self.in_checkpoint = before


class SiteHook:
    """Takes a site's output, returns the aligned one. An object, not a closure: deep copies call their own layer."""

    def __init__(self, layer: nn.Module, binding: Binding) -> None:
        self.layer = layer
        self.binding = binding

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):  # as blocks ask their transformers for it
            return (self(module, args, output[0]), *output[1:])
        clip = self.binding.clip
        if clip is None or clip.is_image:
            return output
        if self.binding.stream is not None:
            return self.binding.stream.advance(self.layer, output)
        time_embedding = args[1] if len(args) > 1 else None  # ResBlocks are called with (features, time embedding)
        if self.binding.checkpoints_layers and not self.binding.in_checkpoint and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(self.layer, output, clip, time_embedding, use_reentrant=False))
        return self.layer(output, clip, time_embedding)


class TextHook:
    """Keys and values of the text, which all frames of a clip share, made once per clip: shows a projection one frame's
    text, ``(b t) n d -> b n d``, and gives what it makes of it to every frame.

    Not where the image model must stay as it is bit for bit: products of other sizes round otherwise. What wraps the
    projection later, as a LoRA does, gets what it expects.
    """

    def __init__(self, binding: Binding) -> None:
        self.binding = binding

    def before(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        clip = self.binding.clip
        return None if clip is None or clip.is_image else (args[0][:: clip.num_frames], *args[1:])

    def after(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        clip = self.binding.clip
        return output if clip is None or clip.is_image else clip.per_frame(output)


class ClipCheckpoint:
    """A network's checkpoint function that binds the forward pass's clip again while it recomputes in ``backward``.

    Without it a recomputation would run without temporal layers, or with those of a later clip.
    """

    def __init__(self, inner: Callable[..., Any], binding: Binding) -> None:
        self.inner = inner
        self.binding = binding

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        clip = self.binding.clip

        def run(*inputs: Any) -> Any:
            with self.binding.bound(clip, in_checkpoint=True):
                return function(*inputs)

        return self.inner(run, *args)

    def serves(self, binding: Binding) -> bool:
        """Whether this one, or one it wraps for another set of layers, binds ``binding``."""
        inner = self.inner
        return self.binding is binding or (isinstance(inner, ClipCheckpoint) and inner.serves(binding))
