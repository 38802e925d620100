"""The mix of spatial and temporal features (paper, Sec. 3.1): ``out = alpha * z + (1 - alpha) * l(z, c)``.

Alpha is ``sigmoid(w)`` with w = 0 at start. Together with the zero-initialised ends of the temporal layers the network
equals the image model at start and gradients flow; alpha near 1 at start never trains (spec, section 2).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from latentloom.layers.base import Clip


def learned_alpha(layer: nn.Module) -> float:
    """A layer's alpha; 0 where it has none and gives all it makes (``motion_module``)."""
    mixing = getattr(layer, "mixing", None)
    return mixing.alpha.item() if isinstance(mixing, Mixing) else 0.0


class Mixing(nn.Module):
    """One learned alpha. The logit has shape ``1``, not a scalar, so that parameter sharding can take it."""

    def __init__(self) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(1))

    @property
    def alpha(self) -> Float[Tensor, "1"]:
        """The learned share of the spatial features, in (0, 1)."""
        return self.logit.sigmoid()

    def temporal_share(self, clip: Clip) -> Float[Tensor, "#t 1"]:
        """``strength * (1 - alpha)``: how much of the temporal layer's change reaches the output, in [0, 1].

        One number, or one for each frame where a mix has an alpha for each (runs/experiments/ablations.py does).
        """
        alpha = self.alpha if clip.alpha is None else self.logit.new_full((1,), clip.alpha)
        return clip.strength * (1 - alpha[:, None])

    def extra_repr(self) -> str:
        """The learned alpha, for ``print(layers)``."""
        return "alpha=meta" if self.logit.is_meta else f"alpha={self.alpha.item():.3f}"
