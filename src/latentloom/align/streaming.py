"""A clip that passes through a decoder in chunks, with the same result as the whole (paper, Sec. 3.1.1; spec, 6).

Each temporal layer needs a few frames after the one it makes: it holds its input back until they have come, and keeps
those that later frames need. So no frame is decoded twice and memory does not grow with the clip; frames come
out later than they go in, the last ones when the clip ends.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from latentloom.layers.base import Clip


class NothingYet(Exception):
    """A layer has too few frames to make one."""


@dataclass
class _Held:
    """Input frames ``b n ...`` of a layer from ``first`` on, of which it has made those before ``made``."""

    frames: Tensor
    first: int
    made: int


class Stream:
    """Where each layer is in a clip; one per clip.

    Before the end a layer that can make nothing ends the call. At the end it has yet to make what it held back, and so
    have those behind it: then no layer makes more at once than the largest chunk held, and calls without new frames
    (``blank``) follow until all is out.

    Attributes:
        blank: what passes at this moment is no frame; layers hand it on, unless they have frames left to make.
        finished: every layer has made every frame.
    """

    def __init__(self, clip: Clip, batch: int) -> None:
        self.clip, self.batch = clip, batch
        self.blank = self.finished = False
        self._ending = False
        self._at_once = 0
        self._held: dict[nn.Module, _Held] = {}

    def calls(self, chunk: Float[Tensor, "b n c h w"], *, ending: bool) -> Iterator[Tensor]:
        """What to send through the decoder now: the chunk; behind the last one (``ending``) blanks until all is out."""
        self._ending, self._at_once = ending, max(self._at_once, chunk.shape[1])
        self.blank, self.finished = False, ending
        yield chunk
        while ending and not self.finished:
            self.blank = self.finished = True
            yield torch.zeros_like(chunk[:, :1])

    def advance(self, layer: nn.Module, features: Tensor) -> Tensor:
        """The frames ``(b n) ...`` that can be made now that ``features`` have come.

        Raises:
            NothingYet: none, and frames are to come.
            ValueError: a layer whose frames depend on the whole clip.
        """
        halo = getattr(layer, "halo", None)
        if halo is None:
            raise ValueError(f"{type(layer).__name__} looks at whole clips; decode at once")
        held = self._held.get(layer) if self.blank else self._joined(layer, features)
        ready = 0 if held is None else self._ready(held, halo)
        if held is None or ready == held.made:
            if not self._ending:
                raise NothingYet
            self.blank = True
            return features[: self.batch]
        clip = Clip(num_frames=held.frames.shape[1], alpha=self.clip.alpha, strength=self.clip.strength)
        made = layer(held.frames.flatten(0, 1), clip, None).unflatten(0, (self.batch, -1))
        result = made[:, held.made - held.first : ready - held.first]
        kept = max(held.first, ready - halo)
        self._held[layer] = _Held(frames=held.frames[:, kept - held.first :].clone(), first=kept, made=ready)
        self.blank = False
        return result.flatten(0, 1)

    def _ready(self, held: _Held, halo: int) -> int:
        """Up to which frame a layer can make them; ``finished`` is what the layers before it are, then it too."""
        end = held.first + held.frames.shape[1]
        ready = end if self.finished else max(held.made, end - halo)
        ready = min(ready, held.made + self._at_once)
        self.finished = self.finished and ready == end
        return ready

    def _joined(self, layer: nn.Module, features: Tensor) -> _Held:
        come = features.unflatten(0, (self.batch, -1))
        held = self._held.get(layer)
        if held is None:
            held = _Held(frames=come, first=0, made=0)
        else:
            held = _Held(frames=torch.cat([held.frames, come], 1), first=held.first, made=held.made)
        self._held[layer] = held
        return held
