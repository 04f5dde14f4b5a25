"""One module per pipeline stage, and the Prefect tasks that drive, record, report and register them."""

import os

# Before torch loads: threads that wait sleep. On a machine with as many busy processes as cores, OpenMP's default
# (spinning) made small networks ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
