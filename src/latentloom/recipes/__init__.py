"""Recipes: functions that return the settings of a training. A recipe has numbers and no behaviour; nothing registers.

`tiny` is for tests and examples (seconds), `driving` made the embedded stack and is the default of the command line.
"""
