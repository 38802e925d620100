"""Footage in and out: video files, datasets of decoded frames with captions, cached latents, and the rendered `world`.

Everything here is about pixels, times and words on disk. No network lives in this room, and nothing here trains; files
from outside are treated as untrusted. Import the module you need: `data.video` and `data.prepare` need PyAV, the rest
does not.
"""
