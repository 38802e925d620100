"""Layer sets: which temporal layer follows which kind of spatial layer.

``text()`` is the paper's text-to-video set, ``driving()`` its set without text, ``decoder()`` that of the video decoder
(paper, sections 3.1, 3.4 and appendix). Frozen data; ``to_dict`` is what ``config.json`` holds.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, runtime_checkable

from torch import nn

from latentloom.layers.attention import TemporalTransformerSpec
from latentloom.layers.context import ContextSpec
from latentloom.layers.conv3d import TemporalResBlockSpec, TimeConvSpec
from latentloom.layers.motion_module import MotionModuleSpec
from latentloom.layers.position import NumberSpec
from latentloom.layers.scene import SceneAttentionSpec

LayerSpec = TemporalResBlockSpec | TemporalTransformerSpec | TimeConvSpec | SceneAttentionSpec | MotionModuleSpec

FPS = NumberSpec(name="fps")
CONTEXT_NUMBERS = (
    NumberSpec(name="context_noise"),  # diffusion step of the noise on the given frames, 0 to 250
    NumberSpec(name="rate", scale=100.0),  # of interpolation: 0 the coarse pass, 1 the fine one
)
EGO_NUMBERS = (
    NumberSpec(name="steering", scale=100.0),  # -1 full left to 1 full right, per frame
    NumberSpec(name="speed", scale=10.0),  # metres a second, per frame
)


@runtime_checkable
class SiteFacts(Protocol):
    """What a layer must know of the spatial layer it follows; ``backbones.Site`` is one."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def channels(self) -> int: ...
    @property
    def num_groups(self) -> int | None: ...
    @property
    def time_width(self) -> int | None: ...
    @property
    def num_heads(self) -> int | None: ...
    @property
    def context_width(self) -> int | None: ...
    @property
    def level(self) -> int | None: ...


@dataclass(frozen=True, kw_only=True)
class LayerSet:
    """One spec per kind of site; None leaves that kind alone.

    Attributes:
        res_block: after every spatial ResBlock.
        transformer: after the last block of every spatial transformer.
        output: after the last convolution of a decoder.
        scene_attention: after every spatial ResBlock, in place of ``res_block``: attention to a scene.
        motion: AnimateDiff's module behind every block, instead of all others; ``motion_middle``: in the middle, too.
        numbers: what is embedded and added to the time embedding of temporal res blocks (fps, noise level, steering).
        context: how given frames enter the temporal res blocks; None: clips are made from noise alone.
    """

    res_block: TemporalResBlockSpec | None = None
    transformer: TemporalTransformerSpec | None = None
    output: TimeConvSpec | None = None
    scene_attention: SceneAttentionSpec | None = None
    motion: MotionModuleSpec | None = None
    motion_middle: bool = True
    numbers: tuple[NumberSpec, ...] = ()
    context: ContextSpec | None = None

    @classmethod
    def text(cls) -> "LayerSet":
        """The paper's text-to-video set: 656M parameters on Stable Diffusion 2.1."""
        return cls(res_block=TemporalResBlockSpec(), transformer=TemporalTransformerSpec())

    @classmethod
    def driving(cls, *, feed_forward: int = 1) -> "LayerSet":
        """Without text, with fps; small: no feed-forward before the attention and a narrow one after it.

        Args:
            feed_forward: hidden width over channels of the feed-forward; 0 leaves it out, 4 is the paper's width.
        """
        attention = TemporalTransformerSpec(feed_forward_in=0, feed_forward_out=feed_forward, position=1, text=False)
        return cls(res_block=TemporalResBlockSpec(), transformer=attention, numbers=(FPS,))

    @classmethod
    def upsampler(cls) -> "LayerSet":
        """Convolutions only, norms per position: frames of any size in tiles."""
        return cls(res_block=TemporalResBlockSpec(statistics="position"))

    @classmethod
    def scene(cls, *, width: int = 128) -> "LayerSet":
        """Attention to the tokens of a scene, of ``width``, in the place of the clip's text; on single images."""
        return cls(scene_attention=SceneAttentionSpec(width=width))

    @classmethod
    def motion_modules(cls, *, middle: bool = True) -> "LayerSet":
        """AnimateDiff's; ``middle`` says whether the middle block has one (its first versions have, later ones not)."""
        return cls(motion=MotionModuleSpec(), motion_middle=middle)

    @property
    def on_blocks(self) -> bool:
        """Whether its layers follow whole blocks instead of single layers."""
        return self.motion is not None

    def takes(self, site: SiteFacts) -> bool:
        """Whether it has a layer for a site."""
        if self.motion is not None:
            return site.kind == "block" and (self.motion_middle or not site.name.startswith("mid_block"))
        return self.spec(site.kind) is not None

    def with_context(self, context: ContextSpec | None = None) -> "LayerSet":
        """The same with given frames, their noise level, and ego motion: for prediction and interpolation.

        Args:
            context: how given frames enter, where this set takes none yet; None is the default of ``ContextSpec``.
        """
        known = {number.name for number in self.numbers}
        new = tuple(number for number in (*CONTEXT_NUMBERS, *EGO_NUMBERS) if number.name not in known)
        return replace(self, numbers=(*self.numbers, *new), context=self.context or context or ContextSpec())

    @classmethod
    def decoder(cls) -> "LayerSet":
        """Convolutions only, and one time conv at the end; norms per frame, so that long clips decode in chunks."""
        return cls(res_block=TemporalResBlockSpec(statistics="frame"), output=TimeConvSpec())

    def spec(self, kind: str) -> LayerSpec | None:
        """The spec for a kind of site, ``res_block``, ``transformer`` or ``output``; None where it is left alone."""
        behind_res_blocks = self.res_block or self.scene_attention
        specs = {"res_block": behind_res_blocks, "transformer": self.transformer, "output": self.output}
        return (specs | {"block": self.motion})[kind]

    def build(self, site: SiteFacts) -> nn.Module:
        """The layer for one site; of the facts each kind takes its own.

        Raises:
            ValueError: a kind this set leaves alone, or a fact that kind needs is missing.
        """
        spec = self.spec(site.kind)
        if isinstance(spec, TemporalResBlockSpec) and site.num_groups is not None:
            context = None if self.context is None or site.level is None else (self.context.width, site.level)
            return spec.build(site.channels, site.num_groups, site.time_width, context)
        if isinstance(spec, TemporalTransformerSpec) and site.num_heads is not None:
            return spec.build(site.channels, site.num_heads, site.context_width)
        if isinstance(spec, SceneAttentionSpec) and site.num_groups is not None:
            return spec.build(site.channels, site.num_groups)
        if isinstance(spec, MotionModuleSpec) and site.num_groups is not None:
            return spec.build(site.channels, site.num_groups)
        if isinstance(spec, TimeConvSpec):
            return spec.build(site.channels)
        raise ValueError(f"the site {site} does not go with the layer set {self}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``config.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "LayerSet":
        """The inverse of ``to_dict``.

        Raises:
            ValueError: keys this version does not know.
        """
        specs = {
            "res_block": TemporalResBlockSpec,
            "transformer": TemporalTransformerSpec,
            "output": TimeConvSpec,
            "scene_attention": SceneAttentionSpec,
            "motion": MotionModuleSpec,
            "context": ContextSpec,
        }
        try:
            given = {name: data[name] for name in specs if data.get(name) is not None}
            parts: dict[str, Any] = {name: specs[name](**given[name]) for name in given}
            parts["numbers"] = tuple(NumberSpec(**number) for number in data.get("numbers", ()))
            return cls(**parts, **{key: value for key, value in data.items() if key not in {*specs, "numbers"}})
        except TypeError as error:
            raise ValueError(f"layer set {data} is not one this version of latentloom can build: {error}") from error
