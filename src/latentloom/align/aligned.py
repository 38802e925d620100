"""Temporal layers at work on a stock image network: the video model (paper, Sec. 3.1).

``attach`` hangs layers on the sites of a network by forward hooks; ``Aligned`` is the video model: frames are folded
into the batch, each site's output passes through its temporal layer. The network's own modules, names and tensors do
not change. This is the only file that registers hooks (docs/decisions/0001-sites-and-hooks.md).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.outputs import BaseOutput
from jaxtyping import Float, Num, Shaped
from torch import Tensor, nn

from latentloom.align.hooks import Binding, ClipCheckpoint, SiteHook, TextHook
from latentloom.align.streaming import NothingYet, Stream
from latentloom.align.temporal_layers import TemporalLayers, check_transfer, wanted_sites
from latentloom.backbones.site import Site
from latentloom.backbones.unet import text_projections
from latentloom.conditions import Conditions
from latentloom.layers.base import Clip
from latentloom.layers.mixing import learned_alpha
from latentloom.shapes import fold_frames, unfold_frames


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
            alpha=learned_alpha(layer),
        )


@dataclass
class AlignedOutput(BaseOutput):
    """``sample``: the network's output for each frame, ``b t c h w``."""

    sample: Tensor


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
        self._binding = Binding()
        self._handles = [
            network.get_submodule(name).register_forward_hook(SiteHook(layers.layer(name), self._binding))
            for name in layers.sites
        ]
        text = TextHook(self._binding)
        for projection in text_projections(network):
            self._handles.append(projection.register_forward_pre_hook(text.before))
            self._handles.append(projection.register_forward_hook(text.after))

    def forward(
        self,
        sample: Float[Tensor, "b t c h w"],
        timestep: Num[Tensor, "*times"] | int | float,
        encoder_hidden_states: Float[Tensor, "_ n d"] | None,
        *,
        temporal_hidden_states: Float[Tensor, "b m e"] | None = None,
        context: Float[Tensor, "b t _ h w"] | None = None,
        fps: Num[Tensor, "*rates"] | int | float | None = None,
        numbers: Mapping[str, Shaped[Tensor, "b *t"]] | None = None,
        attention_distance: int | None = None,
        alpha: float | None = None,
        temporal_strength: float = 1.0,
        class_labels: Num[Tensor, "b *d"] | None = None,
        added_cond_kwargs: dict[str, Tensor] | None = None,
    ) -> AlignedOutput:
        """The denoising network on clips.

        Args:
            sample: noisy latents.
            timestep: one for all clips, one per clip, or one per frame (``b t``).
            encoder_hidden_states: text for the spatial cross-attention, one per clip.
            temporal_hidden_states: text for the temporal cross-attention; by default the same (spec, section 9).
            context: the given frames, ``c_S = (m_S z, m_S)`` (``diffusion.masks``), where the layers take them.
            fps: frames per second of the clips, one for all or one per clip, where the layers embed it.
            numbers: further ones by name, one per clip or per frame, NaN where unknown (``LayerSet.numbers``).
            attention_distance: frames further apart do not attend to each other, in clips longer than those of training
                (paper, Sec. 3.4: convolutional in time); None lets all.
            alpha: forces the mix of every layer, in [0, 1]; 1 is the image model, bit for bit. None: as learned.
            temporal_strength: ``alpha_eff = 1 - strength * (1 - alpha)``, in [0, 1].
            class_labels: a number per clip (x4 upscaler: the noise level), or a vector (SVD's further conditions).
            added_cond_kwargs: SDXL's extra conditions, one row per clip.

        Raises:
            ValueError: shapes that do not go together, or conditions these layers do not take.
        """
        batch, num_frames = sample.shape[:2]
        rates = {} if fps is None else {"fps": _per_clip(fps, batch, sample.device, "fps")}
        text = encoder_hidden_states if temporal_hidden_states is None else temporal_hidden_states
        numbers, shares = {**rates, **(numbers or {})}, {"alpha": alpha, "strength": temporal_strength}
        clip = self.layers.clip(
            num_frames, text=text, context=context, numbers=numbers, distance=attention_distance, **shares
        )
        steps = _times(timestep, batch, num_frames, sample.device).unflatten(0, (batch, num_frames))
        given = None if clip.is_image else context
        if given is not None and self.layers.shows_given_frames:
            sample, steps = _with_given(sample, steps, given, numbers.get("context_noise"))
        with self._bound(clip):
            frames = self.network(
                fold_frames(sample),
                steps.flatten(),
                None if encoder_hidden_states is None else clip.per_frame(_rows(encoder_hidden_states, batch)),
                class_labels=None if class_labels is None else clip.per_frame(class_labels),
                added_cond_kwargs={name: clip.per_frame(value) for name, value in (added_cond_kwargs or {}).items()},
            ).sample
        prediction = unfold_frames(frames, num_frames)
        if given is not None and self.layers.guess is not None:
            guessed = self.layers.guess(prediction, sample, given, steps, numbers)
            prediction = guessed if temporal_strength == 1 else torch.lerp(prediction, guessed, temporal_strength)
        return AlignedOutput(sample=prediction)

    def predict(
        self,
        sample: Float[Tensor, "b t c h w"],
        timestep: Num[Tensor, "*times"] | int | float,
        conditions: Conditions,
        *,
        attention_distance: int | None = None,
        alpha: float | None = None,
        temporal_strength: float = 1.0,
    ) -> Float[Tensor, "b t c h w"]:
        """``forward`` under ``conditions``; the layers are told those of the numbers that they know."""
        return self(
            sample,
            timestep,
            conditions.text,
            temporal_hidden_states=conditions.temporal_text,
            context=conditions.context,
            numbers=self.layers.known(conditions.numbers),
            attention_distance=attention_distance,
            alpha=alpha,
            temporal_strength=temporal_strength,
        ).sample

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
        with self._bound(clip), _unsliced(self.network):
            frames = self.network.decode(cast(Any, fold_frames(latents)), return_dict=False)[0]
        return AlignedOutput(sample=unfold_frames(frames, clip.num_frames))

    @torch.no_grad()
    def decode_stream(
        self,
        chunks: Iterable[Float[Tensor, "b _ c h w"]],
        *,
        alpha: float | None = None,
        temporal_strength: float = 1.0,
        before: Callable[[], None] = lambda: None,
    ) -> Iterator[Float[Tensor, "b _ 3 H W"]]:
        """Decode one batch of clips that comes in chunks; frames as they can be made, those of ``decode``.

        ``before`` is called each time the network is about to work.

        A network that cuts frames into tiles gets the clip as a whole: it goes through all frames for each tile.

        Raises:
            ValueError: as ``decode``; or layers whose norms run over whole clips.
        """
        if not isinstance(self.network, AutoencoderKL):
            raise ValueError(f"decode needs layers on an AutoencoderKL, these are on a {type(self.network).__name__}")
        if self.network.use_tiling:
            clips = torch.cat(list(chunks), 1)
            before()
            yield self.decode(clips, alpha=alpha, temporal_strength=temporal_strength).sample
            return
        stream = None
        for chunk, stops in _with_end(chunks):
            if stream is None:
                clip = Clip(num_frames=chunk.shape[1], alpha=alpha, strength=temporal_strength)
                stream = Stream(clip, len(chunk))
            for fed in stream.calls(chunk, ending=stops):
                before()
                yield from self._decoded(fed, stream)

    def _decoded(self, chunk: Tensor, stream: Stream) -> Iterator[Tensor]:
        """The frames that this chunk lets the decoder give out: one piece, or none."""
        vae = cast(AutoencoderKL, self.network)
        try:
            with self._binding.streaming(stream), _unsliced(vae):
                frames = vae.decode(cast(Any, fold_frames(chunk)), return_dict=False)[0]
        except NothingYet:
            return
        if not stream.blank:
            yield frames.unflatten(0, (stream.batch, -1))

    def enable_gradient_checkpointing(self, *, spatial: bool = True) -> None:
        """Trade time for memory in training: temporal layers recompute in ``backward``, spatial blocks too if asked.

        ``network.enable_gradient_checkpointing()`` does the same as ``spatial=True``, and
        ``layers.enable_gradient_checkpointing()`` as ``spatial=False``. Temporal layers use torch's own function.
        """
        self.layers.enable_gradient_checkpointing()
        if spatial:
            cast(ModelMixin, self.network).enable_gradient_checkpointing()

    def disable_gradient_checkpointing(self) -> None:
        """The default: keep what ``backward`` needs."""
        self.layers.disable_gradient_checkpointing()
        cast(ModelMixin, self.network).disable_gradient_checkpointing()

    def detach(self) -> nn.Module:
        """Take the layers off and return the network, stock again. The ``Aligned`` refuses to be called then."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for module in cast(Iterator[Any], self.network.modules()):
            function = getattr(module, "_gradient_checkpointing_func", None)
            if isinstance(function, ClipCheckpoint) and function.binding is self._binding:
                module._gradient_checkpointing_func = function.inner
        return self.network

    def table(self) -> list[SiteRow]:
        """Site, layer, channels, parameters and learned alpha, in the order of the network."""
        sites = wanted_sites(self.network, self.layers.layer_set)
        return [SiteRow.of(site, self.layers.layer(site.name)) for site in sites]

    @contextmanager
    def _bound(self, clip: Clip) -> Iterator[None]:
        if not self._handles:
            raise ValueError("the temporal layers were taken off (detach); attach them again")
        network_checkpoints = torch.is_grad_enabled() and self._carry_clip_through_checkpoints()
        with self._binding.bound(clip, checkpoints_layers=self.layers.gradient_checkpointing or network_checkpoints):
            yield

    def _carry_clip_through_checkpoints(self) -> bool:
        """Wrap the checkpoint functions in use, whoever switched them on; returns whether there are any."""
        found = False
        for module in cast(Iterator[Any], self.network.modules()):
            if getattr(module, "gradient_checkpointing", False):
                found = True
                function = module._gradient_checkpointing_func
                if not (isinstance(function, ClipCheckpoint) and function.serves(self._binding)):
                    module._gradient_checkpointing_func = ClipCheckpoint(function, self._binding)
        return found


def attach(network: nn.Module, layers: TemporalLayers) -> Aligned:
    """Hang temporal layers on a stock network. Neither's tensors, names or trainability change.

    Raises:
        ValueError: the layers were made for other sites; names the first that differs.
    """
    check_transfer(layers, network)
    return Aligned(network, layers)


@contextmanager
def _unsliced(vae: AutoencoderKL) -> Iterator[None]:
    """Within the block frames are decoded together: slicing would show the layers one of them at a time."""
    before, vae.use_slicing = vae.use_slicing, False
    try:
        yield
    finally:
        vae.use_slicing = before


def _with_end(chunks: Iterable[Tensor]) -> Iterator[tuple[Tensor, bool]]:
    """Each chunk, and whether it is the last one."""
    waiting = None
    for chunk in chunks:
        if waiting is not None:
            yield waiting, False
        waiting = chunk
    if waiting is not None:
        yield waiting, True


def _per_clip(value: Tensor | float, batch: int, device: torch.device, name: str) -> Tensor:
    """One value per clip from one for all or one per clip."""
    values = torch.as_tensor(value, device=device)
    if values.numel() not in (1, batch):
        raise ValueError(f"{name} has {values.numel()} values for {batch} clips: expected one, or one per clip")
    return values.reshape(-1).expand(batch)


def _times(timestep: Tensor | float, batch: int, num_frames: int, device: torch.device) -> Tensor:
    """A diffusion step for each frame, ``(b t)``."""
    if isinstance(timestep, Tensor) and timestep.shape == (batch, num_frames):
        return timestep.to(device).reshape(-1)
    return _per_clip(timestep, batch, device, "timestep").repeat_interleave(num_frames)


def _with_given(
    sample: Float[Tensor, "b t c h w"],
    steps: Num[Tensor, "b t"],
    context: Float[Tensor, "b t _ h w"],
    levels: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The input with given frames in their places, and the diffusion step of each frame, ``b t``."""
    given = context[:, :, -1:] > 0
    own = torch.zeros_like(steps[:, 0]) if levels is None else levels.nan_to_num().to(steps)
    shown = torch.where(given, context[:, :, :-1].to(sample), sample)
    return shown, torch.where(given[:, :, 0, 0, 0], own[:, None], steps)


def _rows(text: Tensor, batch: int) -> Tensor:
    if text.shape[0] != batch:
        raise ValueError(f"encoder_hidden_states has {text.shape[0]} rows for {batch} clips: expected one row per clip")
    return text
