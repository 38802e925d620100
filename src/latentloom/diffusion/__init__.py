"""The mathematics of diffusion as pure functions: noise schedule, objective, guidance, masks, one sampling loop.

Nothing here knows a network, a file or a device policy; networks come in as callables and randomness only through a
``torch.Generator``. Samplers themselves are diffusers' schedulers and are not rewritten here.
"""
