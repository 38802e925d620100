"""Assembled networks: what the layers, the alignment and the stock networks become together; and how they are read.

Not here: training (``training``), files and folders of a whole stack (``stack``).
"""
