"""Prefect flows, one module per operation; ``eyas --help`` is the command line.

Whatever imports a module of this package, Prefect's worker included, has the environment set first.
"""

from flows.environment import configure

configure()
