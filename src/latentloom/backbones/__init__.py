"""Where temporal layers go: the sites of stock networks. The only room that spells diffusers' submodule names.

Not here: the layers themselves (``layers``) and the hooks (``align``).
"""
