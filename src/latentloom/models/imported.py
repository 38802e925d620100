"""Temporal layers filled with the weights of another project, site by site (``svd``, ``animatediff``)."""

from collections.abc import Callable, Mapping

from torch import Tensor

from latentloom.align import TemporalLayers


def fill(
    layers: TemporalLayers, tensors_at: Callable[[str], Mapping[str, Tensor]], source: str, kind: str
) -> TemporalLayers:
    """``layers`` with what ``tensors_at`` gives for each site (``KeyError`` where it has nothing).

    Args:
        source, kind: what messages call the weights and one of their layers.

    Raises:
        ValueError: names the first site for which there are no weights, or some of another shape.
    """
    for site in layers.sites:
        layer = layers.layer(site)
        try:
            theirs = tensors_at(site)
        except KeyError as missing:
            raise ValueError(f"{source}: no {kind} for the site {site}: no {missing.args[0]}") from None
        for name, x in layer.state_dict().items():
            shape = tuple(theirs[name].shape) if name in theirs else None
            if shape != tuple(x.shape):
                raise ValueError(f"at the site {site} {name} is {tuple(x.shape)} here and {shape} in {source}")
        layer.load_state_dict(theirs, strict=True)
    return layers.eval()
