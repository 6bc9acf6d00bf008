"""What exists, as Dagster sees it."""

import warnings

import dagster as dg

# Partitioned asset checks and the conditions of sensors are previews in Dagster: loading the definitions says so each
# time, in every process.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
warnings.filterwarnings("ignore", category=dg.BetaWarning)
