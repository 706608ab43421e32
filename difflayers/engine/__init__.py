"""How a solver is run inside autograd: what every layer and loss shares.

Stable are `SolveOptions` and what the docstrings of `Call` describe, because estimators of your own use them.
Everything else here may change without notice.
"""
