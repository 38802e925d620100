"""A site: a named spatial layer of a stock network after which a temporal layer acts (paper, section 3.1)."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SiteKind = Literal["res_block", "transformer", "output", "block"]


@dataclass(frozen=True, kw_only=True)
class Site:
    """What a temporal layer must know of the layer it follows.

    Attributes:
        name: the module's dotted name in its network.
        kind: ``transformer`` gives tokens ``(b t) n c``, the others maps ``(b t) c h w``.
        channels: c.
        num_groups: groups of the spatial GroupNorm (res_block, block).
        time_width: width of the time embedding, None where the network has none (res_block).
        num_heads: heads of the spatial attention (transformer).
        context_width: width of the text context, None where the site has none (transformer).
        level: how often the network's input was halved before this site; 0 the finest. Follows from the name, so it is
            neither compared nor part of a fingerprint. None where no context can enter (decoders).
    """

    name: str
    kind: SiteKind
    channels: int
    num_groups: int | None = None
    time_width: int | None = None
    num_heads: int | None = None
    context_width: int | None = None
    level: int | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The facts that are set, without the name, for ``config.json``."""
        return {key: value for key, value in asdict(self).items() if key != "name" and value is not None}

    def __str__(self) -> str:
        """``name (kind, channels 320, ...)``, as error messages print it."""
        facts = ", ".join(f"{key} {value}" for key, value in self.to_dict().items() if key not in ("kind", "level"))
        return f"{self.name} ({self.kind}, {facts})"
