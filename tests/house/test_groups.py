"""Tests of one group run in one process, in their order: a group that is ignored fails nothing and costs minutes."""

import os

import pytest


@pytest.mark.xdist_group("house")
def test_a_group_is_known_to_whoever_shares_out_the_tests(request: pytest.FixtureRequest) -> None:
    assert "PYTEST_XDIST_WORKER" not in os.environ or request.node.nodeid.endswith("@house")
