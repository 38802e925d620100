"""Judging of finished frames: motion, fidelity, memorisation. Frames in, numbers out.

The judge does not know the judged: nothing here imports our networks, layers or `align`. The only files read are
networks that a user names (`torchscript`, `clipsim`).
"""
