"""What is woven in: temporal layers as pure functions of features and a clip (paper, section 3.1).

Only torch and einops here. Not here: where layers sit in a network (``backbones``) and how they get there (``align``).
"""
