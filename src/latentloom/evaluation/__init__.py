"""Judging of finished frames: motion, fidelity, memorisation. Frames in, numbers out.

The judge does not know the judged: nothing here imports networks, layers or `align`, and nothing reads or writes files.
"""
