"""Training: datasets and settings in, modules and run folders out. One loop (`loop`), one task per thing that is trained.

It neither generates (`stages`) nor judges (`evaluation`), and knows no model folder (`stack`): callers hand in modules.
"""
