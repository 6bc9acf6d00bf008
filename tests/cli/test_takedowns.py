"""`harvester takedown`: what a person types, sees, and must say twice."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harvester_dagster.publication.takedowns import A_DAY
from tests.cli.conftest import Run
