"""Assembled networks: what the layers, the alignment and the stock networks of diffusers and transformers become together.

Not here: training (``training``), files and folders of a whole stack (``stack``).
"""
