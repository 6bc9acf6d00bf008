"""What exists, as Dagster sees it: a file an area of assets, each with its checks, and one for each other concept.

Partitions (`partitions.py`), jobs and their ops (`jobs.py`), names and tags (`names.py`), versions and places of code
(`code.py`), metadata (`showing.py`). Resources are in `resources/`, schedules and sensors in `sensors/`. What would
need a unit test of its logic is in the domain.
"""

import warnings

import dagster as dg

# Partitioned asset checks and the conditions of sensors are previews in Dagster: loading the definitions says so each
# time, in every process.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
warnings.filterwarnings("ignore", category=dg.BetaWarning)
