"""A first guess of the frames to be made, from those given, and how far it is trusted (ours; spec, sections 4 and 5).

Between two given frames the guess is their linear mixture, beyond the last one it is that frame, standing still or
moved as the drive moves it (``movement``). The frozen network knows nothing of it, and layers within must bring it
there through features made for something else. So a few convolutions behind the network add it to the prediction, pixel
by pixel as far as it helps at each diffusion step. Without given frames nothing is added.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Num, Shaped
from torch import Tensor, nn

from latentloom.layers.movement import EgoMotion, later_frames, moved
from latentloom.layers.position import NUMBER_WIDTH, sinusoid

_DISTANCE_SCALE = 20.0  # frames to the range that the sinusoid resolves


def guessed(
    context: Float[Tensor, "b t c_plus_1 h w"],
) -> tuple[Float[Tensor, "b t c h w"], Float[Tensor, "b t c h w"], Float[Tensor, "b t"]]:
    """Guess, difference of the two given frames around it, and frames to the nearest given one, of each frame.

    The difference is zero where frames are given on one side alone; where none are, everything is zero.
    """
    latents, mask = context[:, :, :-1], context[:, :, -1, 0, 0] > 0  # b t
    num_frames = mask.shape[1]
    index = torch.arange(num_frames, device=mask.device).expand_as(mask)
    before = torch.where(mask, index, -1).cummax(1).values
    after = torch.where(mask, index, num_frames).flip(1).cummin(1).values.flip(1)
    left, right = torch.where(before < 0, after, before), torch.where(after == num_frames, before, after)
    known = mask.any(1, keepdim=True)
    left, right = left.where(known, 0), right.where(known, 0)
    share = ((index - left) / (right - left).clamp(min=1)).clamp(0, 1).to(latents)
    first, second = (latents.gather(1, side[:, :, None, None, None].expand_as(latents)) for side in (left, right))
    guess = torch.lerp(first, second, share[:, :, None, None, None])
    distance = torch.minimum((index - left).abs(), (right - index).abs()).where(known, 0)
    return guess, second - first, distance.to(latents)


class FirstGuess(nn.Module):
    """What is added to a prediction: gains on the noisy frame, the guess and the prediction itself.

    Gains depend on the diffusion step and on the distance to given frames, and from pixel to pixel on what is seen
    there. All start at zero. The movement of the guess is no part of what the prediction's loss teaches: it has a loss
    of its own (``training.movement``).

    Args:
        motion_width: of the network that moves the last given frame on; 0 lets it stand still.
    """

    def __init__(self, channels: int, width: int, motion_width: int = 0) -> None:
        super().__init__()
        self.motion = EgoMotion(channels, motion_width) if motion_width else None
        self.step, self.distance = nn.Linear(NUMBER_WIDTH, width), nn.Linear(NUMBER_WIDTH, width)
        self.told = nn.Linear(width, 2 * width)
        self.gains = nn.Linear(width, 3 * channels)
        self.conv_in = nn.Conv2d(4 * channels, width, 3, padding=1)
        self.conv_mid = nn.Conv2d(width, width, 3, padding=1)
        self.conv_out = nn.Conv2d(width, 3 * channels, 3, padding=1)
        for layer in (self.gains, self.conv_out):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def frames(
        self, context: Float[Tensor, "b t c_plus_1 h w"], numbers: Mapping[str, Shaped[Tensor, "b *t"]]
    ) -> Float[Tensor, "b t c h w"]:
        """The guess itself: ``guessed``, and beyond the last given frame that one, moved."""
        return self._on_the_way(guessed(context)[0], context, numbers)

    def _on_the_way(self, guess: Tensor, context: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        if self.motion is None:
            return guess
        last = guess[:, -1]  # of frames behind the last given one that frame is the guess
        movement = self.motion(context, numbers).detach()
        return torch.where(later_frames(context), moved(last, movement), guess)

    def forward(
        self,
        prediction: Float[Tensor, "b t c h w"],
        noisy: Float[Tensor, "b t c h w"],
        context: Float[Tensor, "b t c_plus_1 h w"],
        steps: Num[Tensor, "b t"],
        numbers: Mapping[str, Shaped[Tensor, "b *t"]] | None = None,
    ) -> Float[Tensor, "b t c h w"]:
        """The prediction with the guess in it; given frames, and clips without any, as they are."""
        context = context.to(prediction)
        guess, difference, distance = guessed(context)
        guess = self._on_the_way(guess, context, numbers or {})
        seen = torch.cat([noisy, prediction, guess, difference], 2)
        places = ((self.step, steps.float()), (self.distance, _DISTANCE_SCALE * distance.float()))
        embedded = [layer(sinusoid(x.flatten(), NUMBER_WIDTH).to(layer.weight.dtype)) for layer, x in places]
        told = F.silu(embedded[0] + embedded[1])  # (b t) width
        scale, shift = (x[:, :, None, None] for x in self.told(told).chunk(2, -1))
        features = F.silu(self.conv_in(rearrange(seen, "b t c h w -> (b t) c h w")) * (1 + scale) + shift)
        gains = self.conv_out(F.silu(self.conv_mid(features))) + self.gains(told)[:, :, None, None]
        parts = rearrange(gains, "(b t) (k c) h w -> k b t c h w", t=seen.shape[1], k=3)
        added = sum(gain * part for gain, part in zip(parts, (noisy, guess, prediction), strict=True))
        mask = context[:, :, -1:].to(prediction)
        made = (1 - mask) * mask.amax(dim=(1, 2, 3, 4), keepdim=True)  # nothing is made anew without given frames
        return prediction + made * added
