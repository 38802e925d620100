"""A stock image network and temporal layers become a video model (paper, Sec. 3.1).

``temporal_layers`` is what is learned and saved, ``aligned`` the two at work, ``hooks`` what acts inside the network.
"""

from latentloom.align.aligned import Aligned, AlignedOutput, SiteRow, attach
from latentloom.align.temporal_layers import TemporalLayers, check_transfer

__all__ = ["Aligned", "AlignedOutput", "SiteRow", "TemporalLayers", "attach", "check_transfer"]
