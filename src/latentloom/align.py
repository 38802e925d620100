"""Temporal layers attached to a stock image network: the video model (paper, Sec. 3.1).

``TemporalLayers`` holds what is learned and is saved alone; ``attach`` hangs it on the sites of a network by forward
hooks; ``Aligned`` is the video model: frames are folded into the batch, each site's output passes through its temporal
layer. The network's own modules, names and tensors do not change. This is the only file that registers hooks
(docs/decisions/0001-sites-and-hooks.md). Not here: what layers compute (``layers``), where sites are (``backbones``).
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
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
    """The temporal layers of one backbone family: one module per site, and an embedding of fps if the set has one."""

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
        # config.json sorts its keys: only a sorted order gives the same parameter order before and after saving.
        self.sites = {name: Site(name=name, **sites[name]) for name in sorted(sites)}
        self.layers = nn.ModuleDict({_key(name): self.layer_set.build(site) for name, site in self.sites.items()})
        widths = [site.time_width for site in self.sites.values() if site.time_width is not None]
        self.fps = NumberEmbedding(FPS_WIDTH, widths[0], widths[0]) if self.layer_set.fps and widths else None

    @classmethod
    def for_network(cls, network: nn.Module, layer_set: LayerSet) -> Self:
        """Fresh layers for every site of ``network`` that ``layer_set`` names; at start they change nothing.

        Raises:
            ValueError: a network without sites for this set.
        """
        sites = {site.name: site.to_dict() for site in find_sites(network) if layer_set.spec(site.kind) is not None}
        if not sites:
            raise ValueError(f"{type(network).__name__} has no site for the layer set {layer_set}")
        return cls(layer_set=layer_set.to_dict(), sites=sites)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None, **kwargs: Any) -> Self:
        """Load a folder written by ``save_pretrained``; every tensor must be there, finite, and expected.

        Raises:
            ValueError: unreadable; or missing, unexpected, ill-shaped, non-finite tensors, naming the first five.
        """
        folder = pretrained_model_name_or_path
        kwargs |= {"use_safetensors": True, "output_loading_info": True}
        try:
            layers, info = cast(Any, super().from_pretrained(folder, **kwargs))
        except (OSError, TypeError, KeyError, AttributeError) as error:  # the last three: config.json of another make
            reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            raise ValueError(
                f"no temporal layers can be read from {folder}, expected a folder written by save_pretrained ({reason})"
            ) from error
        _refuse(folder, "missing", info["missing_keys"])
        _refuse(folder, "unexpected", info["unexpected_keys"])
        _refuse(folder, "not finite", [name for name, x in layers.state_dict().items() if not x.isfinite().all()])
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
        return self.fps(fps.float())


def _refuse(folder: str | os.PathLike | None, problem: str, names: Iterable[str]) -> None:
    first = sorted(names)
    if first:
        raise ValueError(
            f"{folder}: {len(first)} tensors {problem}, first {', '.join(first[:5])}; "
            "expected exactly the tensors that config.json describes, all finite"
        )


def _key(site: str) -> str:
    return site.replace(".", "/")  # module names may not hold dots


def check_transfer(layers: TemporalLayers, network: nn.Module) -> None:
    """Whether ``layers`` fit ``network``: the same sites with the same channels, heads, groups and context widths.

    Raises:
        ValueError: naming the first site that differs, in the order of the network.
    """
    theirs = {site.name: site for site in find_sites(network) if layers.layer_set.spec(site.kind) is not None}
    for name in [*theirs, *(name for name in layers.sites if name not in theirs)]:
        ours, other = layers.sites.get(name), theirs.get(name)
        if ours != other:
            raise ValueError(
                f"temporal layers do not fit this {type(network).__name__}: "
                f"the layers expect {ours or f'no site {name}'}, the network has {other or f'no site {name}'}; "
                "use layers trained for a network with the same sites"
            )


@dataclass(frozen=True, kw_only=True)
class SiteRow:
    """One line of ``Aligned.table``."""

    site: str
    layer: str
    channels: int
    parameters: int
    alpha: float

    @classmethod
    def of(cls, site: Site, layer: nn.Module) -> "SiteRow":
        """The row of one layer."""
        return cls(
            site=site.name,
            layer=type(layer).__name__,
            channels=site.channels,
            parameters=sum(parameter.numel() for parameter in layer.parameters()),
            alpha=cast(Mixing, layer.mixing).alpha.item(),
        )


@dataclass
class AlignedOutput(BaseOutput):
    """``sample``: the network's output for each frame, ``b t c h w``."""

    sample: Tensor


class _Binding:
    """The clip in progress. Hooks and checkpoint functions share one; a deep copy copies them together."""

    def __init__(self) -> None:
        self.clip: Clip | None = None
        self.checkpoints_layers = False
        self.in_checkpoint = False

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


class _SiteHook:
    """Takes a site's output, returns the aligned one. An object, not a closure: deep copies call their own layer."""

    def __init__(self, layer: nn.Module, binding: _Binding) -> None:
        self.layer = layer
        self.binding = binding

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        clip = self.binding.clip
        if clip is None or clip.is_image:
            return output
        time_embedding = args[1] if len(args) > 1 else None  # ResBlocks are called with (features, time embedding)
        if self.binding.checkpoints_layers and not self.binding.in_checkpoint and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(self.layer, output, clip, time_embedding, use_reentrant=False))
        return self.layer(output, clip, time_embedding)


class _ClipCheckpoint:
    """A network's checkpoint function that binds the forward pass's clip again while it recomputes in ``backward``.

    Without it a recomputation would run without temporal layers, or with those of a later clip.
    """

    def __init__(self, inner: Callable[..., Any], binding: _Binding) -> None:
        self.inner = inner
        self.binding = binding

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        clip = self.binding.clip

        def run(*inputs: Any) -> Any:
            with self.binding.bound(clip, in_checkpoint=True):
                return function(*inputs)

        return self.inner(run, *args)

    def serves(self, binding: _Binding) -> bool:
        """Whether this one, or one it wraps for another set of layers, binds ``binding``."""
        inner = self.inner
        return self.binding is binding or (isinstance(inner, _ClipCheckpoint) and inner.serves(binding))


class Aligned(nn.Module):
    """A stock network with temporal layers on it.

    Several sets of layers may be attached to one network: each acts only during the calls of its own ``Aligned``.

    Attributes:
        network: the stock network; called by itself it is the image model.
        layers: the temporal layers.
    """

    def __init__(self, network: nn.Module, layers: TemporalLayers) -> None:
        super().__init__()
        self.network = network
        self.layers = layers
        self._checkpoints_layers = False
        self._binding = _Binding()
        self._handles = [
            network.get_submodule(name).register_forward_hook(_SiteHook(layers.layer(name), self._binding))
            for name in layers.sites
        ]

    def forward(
        self,
        sample: Float[Tensor, "b t c h w"],
        timestep: Num[Tensor, "*times"] | int | float,
        encoder_hidden_states: Float[Tensor, "_ n d"] | None,
        *,
        temporal_hidden_states: Float[Tensor, "b m e"] | None = None,
        fps: Num[Tensor, "*rates"] | int | float | None = None,
        alpha: float | None = None,
        temporal_strength: float = 1.0,
        class_labels: Num[Tensor, " b"] | None = None,
        added_cond_kwargs: dict[str, Tensor] | None = None,
    ) -> AlignedOutput:
        """The denoising network on clips.

        Args:
            sample: noisy latents.
            timestep: one for all clips, or one per clip.
            encoder_hidden_states: text for the spatial cross-attention, one per clip.
            temporal_hidden_states: text for the temporal cross-attention; by default the same (spec, section 9).
            fps: frames per second of the clips, one for all or one per clip, where the layers embed it.
            alpha: forces the mix of every layer, in [0, 1]; 1 is the image model, bit for bit. None: as learned.
            temporal_strength: ``alpha_eff = 1 - strength * (1 - alpha)``, in [0, 1].
            class_labels: one per clip (x4 upscaler: the noise level).
            added_cond_kwargs: SDXL's extra conditions, one row per clip.

        Raises:
            ValueError: shapes that do not go together, or conditions these layers do not take.
        """
        batch, num_frames = sample.shape[:2]
        text = encoder_hidden_states if temporal_hidden_states is None else temporal_hidden_states
        clip = Clip(
            num_frames=num_frames,
            text=text,
            condition=self.layers.condition(None if fps is None else _per_clip(fps, batch, sample.device, "fps")),
            alpha=alpha,
            strength=temporal_strength,
        )
        timesteps = _per_clip(timestep, batch, sample.device, "timestep")
        with self._bound(clip):
            frames = self.network(
                fold_frames(sample),
                clip.per_frame(timesteps),
                None if encoder_hidden_states is None else clip.per_frame(_rows(encoder_hidden_states, batch)),
                class_labels=None if class_labels is None else clip.per_frame(class_labels),
                added_cond_kwargs={name: clip.per_frame(value) for name, value in (added_cond_kwargs or {}).items()},
            ).sample
        return AlignedOutput(sample=unfold_frames(frames, num_frames))

    def decode(
        self, latents: Float[Tensor, "b t c h w"], *, alpha: float | None = None, temporal_strength: float = 1.0
    ) -> AlignedOutput:
        """Decode clips of latents (as the VAE takes them, unscaled) to ``b t 3 H W``, with the decoder's layers acting.

        Raises:
            ValueError: the network is not an ``AutoencoderKL``.
        """
        if not isinstance(self.network, AutoencoderKL):
            raise ValueError(f"decode needs layers on an AutoencoderKL, these are on a {type(self.network).__name__}")
        clip = Clip(num_frames=latents.shape[1], alpha=alpha, strength=temporal_strength)
        with self._bound(clip):
            frames = self.network.decode(cast(Any, fold_frames(latents)), return_dict=False)[0]
        return AlignedOutput(sample=unfold_frames(frames, clip.num_frames))

    def enable_gradient_checkpointing(self, *, spatial: bool = True) -> None:
        """Trade time for memory in training: temporal layers recompute in ``backward``, spatial blocks too if asked.

        ``network.enable_gradient_checkpointing()`` does the same as ``spatial=True``.
        """
        self._checkpoints_layers = True
        if spatial:
            cast(ModelMixin, self.network).enable_gradient_checkpointing()

    def disable_gradient_checkpointing(self) -> None:
        """The default: keep what ``backward`` needs."""
        self._checkpoints_layers = False
        cast(ModelMixin, self.network).disable_gradient_checkpointing()

    def detach(self) -> nn.Module:
        """Take the layers off and return the network, stock again. The ``Aligned`` is of no more use."""
        for handle in self._handles:
            handle.remove()
        for module in cast(Iterator[Any], self.network.modules()):
            function = getattr(module, "_gradient_checkpointing_func", None)
            if isinstance(function, _ClipCheckpoint) and function.binding is self._binding:
                module._gradient_checkpointing_func = function.inner
        return self.network

    def table(self) -> list[SiteRow]:
        """Site, layer, channels, parameters and learned alpha, in the order of the network."""
        sites = [site for site in find_sites(self.network) if site.name in self.layers.sites]
        return [SiteRow.of(site, self.layers.layer(site.name)) for site in sites]

    @contextmanager
    def _bound(self, clip: Clip) -> Iterator[None]:
        network_checkpoints = torch.is_grad_enabled() and self._carry_clip_through_checkpoints()
        with self._binding.bound(clip, checkpoints_layers=self._checkpoints_layers or network_checkpoints):
            yield

    def _carry_clip_through_checkpoints(self) -> bool:
        """Wrap the checkpoint functions in use, whoever switched them on; returns whether there are any."""
        found = False
        for module in cast(Iterator[Any], self.network.modules()):
            if getattr(module, "gradient_checkpointing", False):
                found = True
                function = module._gradient_checkpointing_func
                if not (isinstance(function, _ClipCheckpoint) and function.serves(self._binding)):
                    module._gradient_checkpointing_func = _ClipCheckpoint(function, self._binding)
        return found


def attach(network: nn.Module, layers: TemporalLayers) -> Aligned:
    """Hang temporal layers on a stock network. Neither's tensors, names or trainability change.

    Raises:
        ValueError: the layers were made for other sites; names the first that differs.
    """
    check_transfer(layers, network)
    return Aligned(network, layers)


def _per_clip(value: Tensor | float, batch: int, device: torch.device, name: str) -> Tensor:
    """One value per clip from one for all or one per clip."""
    values = torch.as_tensor(value, device=device)
    if values.numel() not in (1, batch):
        raise ValueError(f"{name} has {values.numel()} values for {batch} clips: expected one, or one per clip")
    return values.reshape(-1).expand(batch)


def _rows(text: Tensor, batch: int) -> Tensor:
    if text.shape[0] != batch:
        raise ValueError(f"encoder_hidden_states has {text.shape[0]} rows for {batch} clips: expected one row per clip")
    return text
