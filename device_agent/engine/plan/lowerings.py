"""Every lowering, by operator: importing this module fills the table of context.py.

Rules of this module:

- One file a family; a file uses transforms and arithmetic; quantised convolutions use windows.
"""

from device_agent.engine.plan import (
    lower_elementwise,
    lower_indexing,
    lower_movement,
    lower_normalisation,
    lower_pools,
    lower_products,
    lower_quantised,
    lower_recurrent,
    lower_reductions,
    lower_sampling,
    lower_signals,
    lower_windows,
)

FAMILIES = (
    lower_elementwise, lower_indexing, lower_movement, lower_normalisation, lower_pools,
    lower_products, lower_quantised, lower_recurrent, lower_reductions, lower_sampling, lower_signals, lower_windows,
)  # fmt: skip
