"""Temporal layers attached to a stock image network: the video model (paper, section 3.1, Eq. 2 and 3).

``TemporalLayers`` holds what is learned and is saved alone; ``attach`` hangs it on the sites of a network by forward hooks;
``Aligned`` is the video model: frames are folded into the batch, each site's output passes through its temporal layer. The
network's own modules, names and tensors do not change. This is the only file that registers hooks.
See docs/decisions/0001-sites-and-hooks.md.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.outputs import BaseOutput
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latentloom.backbones.find import find_sites
from latentloom.backbones.site import Site
from latentloom.layers.base import Clip
from latentloom.layers.layer_set import LayerSet
from latentloom.layers.mixing import Mixing
from latentloom.layers.position import NumberEmbedding
from latentloom.shapes import fold_frames, unfold_frames

FPS_WIDTH = 64


class TemporalLayers(ModelMixin, ConfigMixin):
    """The temporal layers of one backbone family: one module per site, and the embedding of fps where the set has one."""

    _supports_gradient_checkpointing = False

    @register_to_config
    def __init__(self, layer_set: dict[str, Any], sites: dict[str, dict[str, Any]]) -> None:
        """Use ``for_network``; this form takes what ``config.json`` holds.

        Args:
            layer_set: ``LayerSet.to_dict()``.
            sites: site name to ``Site.to_dict()``.
        """
        super().__init__()
        self.layer_set = LayerSet.from_dict(layer_set)
        # config.json sorts its keys: only a sorted order gives the same parameter order before saving and after loading.
        self.sites = {name: Site(name=name, **sites[name]) for name in sorted(sites)}
        built = {name: _build(self.layer_set, site) for name, site in self.sites.items()}
        self.layers = nn.ModuleDict({_key(name): layer for name, layer in built.items()})
        widths = [site.time_width for site in self.sites.values() if site.time_width is not None]
        self.fps = NumberEmbedding(FPS_WIDTH, widths[0], widths[0]) if self.layer_set.fps and widths else None

    @classmethod
    def for_network(cls, network: nn.Module, layer_set: LayerSet) -> Self:
        """Fresh layers for every site of ``network`` that ``layer_set`` names; at start they change nothing.

        Raises:
            ValueError: a network without sites for this set.
        """
        sites = {site.name: site.to_dict() for site in find_sites(network) if _spec(layer_set, site) is not None}
        if not sites:
            raise ValueError(f"{type(network).__name__} has no site for the layer set {layer_set}")
        return cls(layer_set=layer_set.to_dict(), sites=sites)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None, **kwargs: Any) -> Self:
        """Load a folder written by ``save_pretrained``; every tensor must be there, finite, and expected.

        Raises:
            ValueError: missing, unexpected or non-finite tensors, naming the first five.
        """
        kwargs |= {"use_safetensors": True, "output_loading_info": True}
        layers, info = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        bad = {
            "missing": list(info["missing_keys"]),
            "unexpected": list(info["unexpected_keys"]),
            "mismatched": [str(key) for key in info["mismatched_keys"]],
            "not finite": [name for name, tensor in layers.state_dict().items() if not tensor.isfinite().all()],
        }
        for problem, keys in bad.items():
            if keys:
                raise ValueError(
                    f"{pretrained_model_name_or_path}: {len(keys)} tensors {problem}, first {', '.join(sorted(keys)[:5])}; "
                    "expected exactly the tensors config.json describes"
                )
        return layers

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the site table and layer set: equal for backbones that can exchange layers."""
        facts = {"layer_set": self.layer_set.to_dict(), "sites": {n: s.to_dict() for n, s in self.sites.items()}}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def layer(self, site: str) -> nn.Module:
        """The temporal layer that follows ``site`` (a module name of the network)."""
        return self.layers[_key(site)]

    def mixing_parameters(self) -> Iterator[nn.Parameter]:
        """The alpha logits, one per layer, in site order; trained at a higher rate than the rest."""
        return (module.logit for module in self.modules() if isinstance(module, Mixing))

    def condition(self, fps: Num[Tensor, " b"] | None) -> Float[Tensor, "b d"] | None:
        """What is added to the time embedding of the temporal res blocks; None where nothing is.

        Raises:
            ValueError: fps given to layers that do not embed it.
        """
        if fps is None:
            return None
        if self.fps is None:
            raise ValueError("these temporal layers do not embed fps: expected fps=None or a layer set with fps")
        return self.fps(fps)


def _key(site: str) -> str:
    return site.replace(".", "/")  # module names may not hold dots


def _spec(layer_set: LayerSet, site: Site) -> Any:
    return {"res_block": layer_set.res_block, "transformer": layer_set.transformer, "output": layer_set.output}[site.kind]


def _build(layer_set: LayerSet, site: Site) -> nn.Module:
    spec = _spec(layer_set, site)
    if spec is None:
        raise ValueError(f"the layer set has no layer for the site {site}")
    if site.kind == "res_block":
        return spec.build(site.channels, site.num_groups, site.time_width)
    if site.kind == "transformer":
        return spec.build(site.channels, site.num_heads, site.context_width)
    return spec.build(site.channels)


def check_transfer(layers: TemporalLayers, network: nn.Module) -> None:
    """Whether ``layers`` fit ``network``: the same sites with the same channels, heads, groups and context widths.

    Raises:
        ValueError: naming the first site that differs, in the order of the network.
    """
    theirs = {site.name: site for site in find_sites(network) if _spec(layers.layer_set, site) is not None}
    for name in [*theirs, *(name for name in layers.sites if name not in theirs)]:
        ours, other = layers.sites.get(name), theirs.get(name)
        if ours != other:
            raise ValueError(
                f"temporal layers do not fit this {type(network).__name__}: the layers expect {ours or f'no site {name}'}, "
                f"the network has {other or f'no site {name}'}; use layers trained for a network with the same sites"
            )


@dataclass
class AlignedOutput(BaseOutput):
    """``sample``: the network's output for each frame, ``b t c h w``."""

    sample: Tensor


class _Binding:
    """The clip in progress. Hooks and the checkpoint function share one; a deep copy copies all three together."""

    def __init__(self) -> None:
        self.clip: Clip | None = None
        self.in_checkpoint = False

    @contextmanager
    def bound(self, clip: Clip | None, *, in_checkpoint: bool = False) -> Iterator[None]:
        before = self.clip, self.in_checkpoint
        self.clip, self.in_checkpoint = clip, in_checkpoint
        try:
            yield
        finally:
            self.clip, self.in_checkpoint = before


class _SiteHook:
    """Takes a site's output, returns the aligned one. An object, not a closure: deep copies call their own layer."""

    def __init__(self, layer: nn.Module, binding: _Binding) -> None:
        self.layer = layer
        self.binding = binding
        self.checkpoints = False

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        clip = self.binding.clip
        if clip is None or clip.is_image:
            return output
        time_embedding = args[1] if len(args) > 1 else None  # ResBlocks are called with (features, time embedding)
        if self.checkpoints and torch.is_grad_enabled() and not self.binding.in_checkpoint:
            return cast(Tensor, checkpoint(self.layer, output, clip, time_embedding, use_reentrant=False))
        return self.layer(output, clip, time_embedding)


class _ClipCheckpoint:
    """The network's checkpoint function, which binds the clip of the forward pass again when it recomputes in backward."""

    def __init__(self, inner: Callable[..., Any], binding: _Binding) -> None:
        self.inner = inner
        self.binding = binding

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        clip = self.binding.clip

        def run(*inputs: Any) -> Any:
            with self.binding.bound(clip, in_checkpoint=True):
                return function(*inputs)

        return self.inner(_Callable(run), *args)


class _Callable:
    """diffusers calls ``module.__call__``; a plain function has one too, but compilers treat this form alike."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


class Aligned(nn.Module):
    """A stock network with temporal layers on it. Attributes ``network`` (untouched) and ``layers``."""

    def __init__(self, network: nn.Module, layers: TemporalLayers) -> None:
        super().__init__()
        self.network = network
        self.layers = layers
        self._binding = _Binding()
        self._hooks = {name: _SiteHook(layers.layer(name), self._binding) for name in layers.sites}
        self._handles = [network.get_submodule(name).register_forward_hook(hook) for name, hook in self._hooks.items()]
