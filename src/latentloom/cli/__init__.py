"""The command line: arguments in, files and short texts out. It orders rooms below to work and does no mathematics.

Importing it costs neither torch nor diffusers: each command imports what it needs when it runs, so that ``--help`` and
a mistyped option answer at once.
"""

from latentloom.cli.app import main

__all__ = ["main"]
