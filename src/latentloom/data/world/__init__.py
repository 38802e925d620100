"""A procedural driving world with known truth: endless test and training video.

Roads, roadside, traffic, light and weather are drawn with numpy from a seed; every frame comes with the camera's speed
and steering, boxes of visible vehicles, optical flow, and words. This is not a simulator: nothing here reacts to the
camera, and there are no physics beyond plane geometry.

    clip = render(random_scene(7, place="country road"), num_frames=16, fps=8)
    clip.frames, clip.caption, clip.boxes[0], clip.steering

From outermost to innermost: ``render`` (clips and streams), ``words``, ``truth`` (boxes, flow), ``picture`` (one
frame), ``cars mesh traffic roadside walls sprites ground sky light`` (what is drawn), ``polygons filters canvas``
(how), ``plane road motion`` (where), ``scene noise``.
"""

from latentloom.data.world.render import WorldClip, WorldFrame, frames, render
from latentloom.data.world.scene import PLACES, Car, WorldScene, random_scene
from latentloom.data.world.truth import Box
from latentloom.data.world.words import WorldWords

__all__ = [
    "PLACES",
    "Box",
    "Car",
    "WorldClip",
    "WorldFrame",
    "WorldScene",
    "WorldWords",
    "frames",
    "random_scene",
    "render",
]
