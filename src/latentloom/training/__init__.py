"""Training: datasets and settings in, modules and run folders out. One loop (`loop`), one task for each thing trained.

It neither generates (`stages`) nor judges (`evaluation`), and knows no model folder (`stack`): callers hand in modules.
"""
