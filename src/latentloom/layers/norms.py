"""Group norm of each position by itself, so that pictures can be cut into tiles without seams."""

from jaxtyping import Float
from torch import Tensor, nn


class PositionGroupNorm(nn.GroupNorm):
    """Mean and variance over a group's channels at each position, not over the picture; weights as in the stock one."""

    def forward(self, input: Float[Tensor, "b c *positions"]) -> Float[Tensor, "b c *positions"]:
        """As wide as torch's own norm computes under autocast."""
        groups = input.float().unflatten(1, (self.num_groups, -1))
        centred = groups - groups.mean(2, keepdim=True)
        normed = (centred * (centred.square().mean(2, keepdim=True) + self.eps).rsqrt()).flatten(1, 2)
        shape = (-1, *(1,) * (input.dim() - 2))
        return normed.to(input.dtype) * self.weight.view(shape) + self.bias.view(shape)
