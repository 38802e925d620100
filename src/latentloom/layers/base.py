"""What every temporal layer is told beside its features: the clip.

Paper, section 3.1: a layer computes ``l(z, c)`` for the frames ``z`` of one video and its conditioning ``c``. Nothing
of a clip is stored in a layer, so one set of layers serves every length, batch and device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Shaped
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One batch of clips, as the temporal layers see it.

    Attributes:
        num_frames: frames per clip, t >= 1; features arrive as ``(b t) ...``.
        text: temporal text context, ``b n d``, one per clip, or None.
        numbers: embedded numbers, added to the time embedding of temporal res blocks, per clip or per frame, or None.
        context: maps of the given frames, one for each halving of the network's input, ``(b t) m h w``; or None.
        distance: frames further apart do not attend to each other; None lets all (spec, section 10).
        alpha: mixing forced on all layers, in [0, 1]; 1 is the image model; None takes the learned values.
        strength: the share of the temporal change that is kept, ``alpha_eff = 1 - strength * (1 - alpha)``.
    """

    num_frames: int
    text: Float[Tensor, "b n d"] | None = None
    numbers: Float[Tensor, "b #t e"] | None = None
    context: Sequence[Float[Tensor, "bt m _ _"]] | None = None
    distance: int | None = None
    alpha: float | None = None
    strength: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no share.

        Raises:
            ValueError: ``alpha`` or ``strength`` outside [0, 1].
        """
        for name, value in (("alpha", self.alpha), ("temporal_strength", self.strength)):
            if value is not None and not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is {value}: expected a number from 0 to 1")

    @property
    def is_image(self) -> bool:
        """Whether the mix leaves the image model alone, bit for bit (alpha = 1 or strength = 0)."""
        return self.alpha == 1.0 or self.strength == 0.0

    def per_frame(self, rows: Shaped[Tensor, "b *rest"]) -> Shaped[Tensor, "bt *rest"]:
        """Repeat each clip's row for its frames, ``b ... -> (b t) ...``."""
        return rows.repeat_interleave(self.num_frames, dim=0)
