"""What clips are generated under: text, given frames, and numbers such as fps (paper, Sec. 3.1 and 3.2).

One value instead of five parameters: guidance compares predictions under several of them, training drops parts of one,
and the stages only say which they want. Not here: what the networks make of it (``align``, ``layers``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Conditions:
    """The conditions of a batch of clips, one row per clip.

    Attributes:
        text: states of the text encoder, ``b n d``, for the spatial cross-attention.
        temporal_text: ``b m e``, for the temporal cross-attention; None is the same text.
        context: the given frames, ``c_S = (m_S z, m_S)``, ``b t c+1 h w``; None is no given frame (spec, section 4).
        numbers: name to one number per clip (``b``) or per frame (``b t``); NaN where it is not known.
    """

    text: Float[Tensor, "b n d"]
    temporal_text: Float[Tensor, "b m e"] | None = None
    context: Float[Tensor, "b t _ h w"] | None = None
    numbers: Mapping[str, Shaped[Tensor, "b *t"]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.text)

    def with_text(
        self, text: Float[Tensor, "b n d"], temporal_text: Float[Tensor, "b m e"] | None = None
    ) -> "Conditions":
        """The same under another text; in both attentions unless the temporal one reads it otherwise."""
        return replace(self, text=text, temporal_text=temporal_text)


def concatenate(parts: Sequence[Conditions]) -> Conditions:
    """The conditions of several batches as one; what only some of them hold is absent (zero, NaN) for the others."""
    names = sorted({name for part in parts for name in part.numbers})
    return Conditions(
        text=torch.cat([part.text for part in parts]),
        temporal_text=_joined_text(parts),
        context=_joined_context(parts),
        numbers={name: _joined_number(parts, name) for name in names},
    )


def _joined_text(parts: Sequence[Conditions]) -> Tensor | None:
    if all(part.temporal_text is None for part in parts):
        return None
    return torch.cat([part.text if part.temporal_text is None else part.temporal_text for part in parts])


def _joined_context(parts: Sequence[Conditions]) -> Tensor | None:
    """No given frame is a mask of zeros: layers add exactly nothing for it."""
    given = next((part.context for part in parts if part.context is not None), None)
    if given is None:
        return None
    empty = given.new_zeros(1, *given.shape[1:])
    return torch.cat([empty.expand(len(p), *empty.shape[1:]) if p.context is None else p.context for p in parts])


def _joined_number(parts: Sequence[Conditions], name: str) -> Tensor:
    given = next(part.numbers[name] for part in parts if name in part.numbers)
    columns = [part.numbers.get(name, given.new_full((len(part),), torch.nan)) for part in parts]
    length = max(column[0].numel() for column in columns)
    if length == 1:
        return torch.cat([column.reshape(-1) for column in columns])
    return torch.cat([column.reshape(len(column), -1).expand(-1, length) for column in columns])
