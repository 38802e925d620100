"""Judging of finished frames: motion, consistency, fidelity, variety, memorisation. Frames in, numbers out.

The judge does not know the judged: nothing here imports our networks, layers or `align`. The only files read are
the shipped network of own features (`video_network`) and networks that a user names (`torchscript`, `clipsim`).
"""
