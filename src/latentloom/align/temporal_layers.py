"""What is learned of a video model and saved alone: one temporal layer per site (paper, Sec. 3.1).

``TemporalLayers`` holds the layers, the embeddings of numbers and the encoder of given frames. Not here: how they act
on a network (``aligned``), what a layer computes (``layers``), where sites are (``backbones``).
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from latentloom.backbones.find import find_sites, latent_channels
from latentloom.backbones.site import Site
from latentloom.layers.base import Clip
from latentloom.layers.guess import FirstGuess, guessed
from latentloom.layers.layer_set import LayerSet
from latentloom.layers.mixing import Mixing
from latentloom.layers.movement import EgoMotion
from latentloom.layers.position import NumberConditions
from latentloom.shapes import fold_frames

CPU = torch.device("cpu")


class TemporalLayers(ModelMixin, ConfigMixin):
    """The temporal layers of one backbone family: one module per site, and what leads numbers and given frames in."""

    _supports_gradient_checkpointing = True
    # embeddings of numbers, and what they lead to, have the dtype that their weights are stored in
    _skip_layerwise_casting_patterns = ("^numbers", "position", "^guess")

    @register_to_config
    def __init__(
        self, layer_set: dict[str, Any], sites: dict[str, dict[str, Any]], latent_channels: int | None = None
    ) -> None:
        """Use ``for_network``; this form takes what ``config.json`` holds.

        Args:
            layer_set: ``LayerSet.to_dict()``.
            sites: site name to ``Site.to_dict()``.
            latent_channels: of the given frames, where the set takes any.
        """
        super().__init__()
        self.gradient_checkpointing = False  # what diffusers switches; ``Aligned`` reads it
        self.layer_set = LayerSet.from_dict(layer_set)
        # config.json sorts its keys: only a sorted order gives the same parameter order before and after saving.
        self.sites = {name: Site(name=name, **sites[name]) for name in sorted(sites)}
        self.layers = nn.ModuleDict({_key(name): self.layer_set.build(site) for name, site in self.sites.items()})
        widths = [site.time_width for site in self.sites.values() if site.time_width is not None]
        self.numbers = NumberConditions(self.layer_set.numbers, widths[0]) if widths else None
        self.context = self.guess = None
        if self.layer_set.context is not None and latent_channels is not None:
            levels = [site.level for site in self.sites.values() if site.level is not None]
            self.context = self.layer_set.context.build(latent_channels, 1 + max(levels))
            if self.layer_set.context.first_guess:
                spec = self.layer_set.context
                self.guess = FirstGuess(latent_channels, spec.first_guess, spec.motion)

    @classmethod
    def for_network(cls, network: nn.Module, layer_set: LayerSet) -> Self:
        """Fresh layers for every site of ``network`` that ``layer_set`` names; at start they change nothing.

        Raises:
            ValueError: a network without sites for this set.
        """
        sites = {site.name: site.to_dict() for site in wanted_sites(network, layer_set)}
        if not sites:
            raise ValueError(f"{type(network).__name__} has no site for the layer set {layer_set}")
        channels = None if layer_set.context is None else latent_channels(network)
        return cls(layer_set=layer_set.to_dict(), sites=sites, latent_channels=channels)

    def extended(self, network: nn.Module, layer_set: LayerSet) -> Self:
        """These layers with what ``layer_set`` has beyond theirs, which computes exactly what these do at first.

        Given frames alone are seen at once where the set shows them in the input (``ContextSpec.own_step``); a guess
        that learns to move stands still at first, within the rounding of a grid.

        Prediction and interpolation begin so from the layers of the key frames.

        Raises:
            ValueError: the set lacks something that these have, or has it in another size.
        """
        wider = type(self).for_network(network, layer_set)
        state, own = wider.state_dict(), self.state_dict()
        other = [name for name, x in own.items() if name not in state or state[name].shape != x.shape]
        if other:
            raise ValueError(f"these layers have {other[0]}, which the layer set {layer_set} has not, or not so large")
        wider.load_state_dict({**state, **own})
        return wider

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

    def enable_group_offload(
        self,
        onload_device: torch.device,
        offload_device: torch.device = CPU,
        offload_type: str = "block_level",
        num_blocks_per_group: int | None = None,
        non_blocking: bool = False,
        use_stream: bool = False,
        record_stream: bool = False,
        low_cpu_mem_usage: bool = False,
        offload_to_disk_path: str | None = None,
        block_modules: Sequence[str] | None = None,
        exclude_kwargs: Sequence[str] | None = None,
    ) -> None:
        """Diffusers' group offloading; a group is a whole temporal layer, whatever type and number are asked for.

        Hooks call the layers one by one, and a layer reads weights of its parts directly: diffusers' own groups would
        not see either.
        """
        blocks = ["layers", *map(_key, self.sites), "numbers", "context", "guess", "motion"]
        super().enable_group_offload(
            onload_device,
            offload_device,
            "block_level",
            1,
            non_blocking,
            use_stream,
            record_stream,
            low_cpu_mem_usage,
            offload_to_disk_path,
            cast(Any, [*blocks, *(block_modules or ())]),
            cast(Any, exclude_kwargs),
        )

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the site table: equal for layers whose backbones can exchange them."""
        facts = {name: {**site.to_dict(), "level": None} for name, site in self.sites.items()}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def reads_text(self) -> bool:
        """Whether any layer attends to the clip's text."""
        spec = self.layer_set.transformer
        return spec is not None and spec.text and any(site.context_width for site in self.sites.values())

    def layer(self, site: str) -> nn.Module:
        """The temporal layer that follows ``site`` (a module name of the network)."""
        return self.layers[_key(site)]

    def mixing_parameters(self) -> Iterator[nn.Parameter]:
        """The alpha logits, one per layer, in site order; trained at a higher rate than the rest."""
        return (module.logit for module in self.modules() if isinstance(module, Mixing))

    @property
    def number_names(self) -> tuple[str, ...]:
        """The numbers these layers can be told, such as ``fps``."""
        return tuple(number.name for number in self.layer_set.numbers) if self.numbers is not None else ()

    @property
    def shows_given_frames(self) -> bool:
        """Whether given frames stand in the network's input as they are given (``ContextSpec.own_step``)."""
        return self.context is not None and self.layer_set.context is not None and self.layer_set.context.own_step

    @property
    def ego_motion(self) -> EgoMotion | None:
        """What moves the first guess of frames behind the given ones, where the set has it (``ContextSpec.motion``)."""
        return None if self.guess is None else self.guess.motion

    def known(self, numbers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of ``numbers`` that these layers can be told."""
        return {name: values for name, values in numbers.items() if name in self.number_names}

    def first_guess(
        self, context: Float[Tensor, "b t _ h w"], numbers: Mapping[str, Shaped[Tensor, "b *t"]]
    ) -> Float[Tensor, "b t c h w"]:
        """All frames of clips as they may be by those given in ``context``, which a sampling walk can begin from."""
        return guessed(context)[0] if self.guess is None else self.guess.frames(context, self.known(numbers))

    def clip(
        self,
        num_frames: int,
        *,
        text: Float[Tensor, "b n d"] | None = None,
        context: Float[Tensor, "b t _ h w"] | None = None,
        numbers: Mapping[str, Shaped[Tensor, "b *t"]] | None = None,
        distance: int | None = None,
        alpha: float | None = None,
        strength: float = 1.0,
    ) -> Clip:
        """What the layers are told of a batch of clips: numbers embedded, the given frames as maps.

        Raises:
            ValueError: numbers or given frames that these layers do not take; shares outside [0, 1].
        """
        if context is not None and self.context is None:
            raise ValueError(
                "these temporal layers take no given frames: give context=None, or use layers with context"
            )
        if numbers and self.numbers is None:
            raise ValueError(f"these temporal layers take no {', '.join(numbers)}: their network has no time embedding")
        return Clip(
            num_frames=num_frames,
            text=text,
            numbers=self.numbers(numbers) if self.numbers is not None and numbers else None,
            context=None
            if self.context is None or context is None
            else self.context(fold_frames(context.to(self.dtype))),
            distance=distance,
            alpha=alpha,
            strength=strength,
        )


def _refuse(folder: str | os.PathLike | None, problem: str, names: Iterable[str]) -> None:
    first = sorted(names)
    if first:
        raise ValueError(
            f"{folder}: {len(first)} tensors {problem}, first {', '.join(first[:5])}; "
            "expected exactly the tensors that config.json describes, all finite"
        )


def _key(site: str) -> str:
    return site.replace(".", "/")  # module names may not hold dots


def wanted_sites(network: nn.Module, layer_set: LayerSet) -> list[Site]:
    """The sites of a network that a layer set has layers for. Raises ``ValueError`` for an unknown network."""
    return [site for site in find_sites(network, blocks=layer_set.on_blocks) if layer_set.takes(site)]


def check_transfer(layers: TemporalLayers, network: nn.Module) -> None:
    """Whether ``layers`` fit ``network``: the same sites with the same channels, heads, groups and context widths.

    Raises:
        ValueError: naming the first site that differs, in the order of the network.
    """
    theirs = {site.name: site for site in wanted_sites(network, layers.layer_set)}
    for name in [*theirs, *(name for name in layers.sites if name not in theirs)]:
        ours, other = layers.sites.get(name), theirs.get(name)
        if ours != other:
            raise ValueError(
                f"temporal layers do not fit this {type(network).__name__}: "
                f"the layers expect {ours or f'no site {name}'}, the network has {other or f'no site {name}'}; "
                "use layers trained for a network with the same sites"
            )
