"""Generation, one file per stage of the cascade: text to latents, and latents to frames (paper, Fig. 3).

A stage is a function of networks and a request; it never reads or writes files, never prints, and returns latents
``1 t c h w`` or an iterator of frames. Not here: the folder of networks (``stack``), diffusers' calling conventions
(``pipeline``), training.
"""
