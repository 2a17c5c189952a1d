"""The 20,000 cases of CI, first half: damaged files. The kinds are in two test files, for two test processes."""

import pytest

from tests.fuzz.campaign import CASES, SHARES, holds


def test_the_shares_make_a_whole():
    assert sum(round(CASES * share) for share in SHARES.values()) == CASES


@pytest.mark.parametrize("kind", ["sounds", "graphs", "checkpoints", "archives"])
def test_whatever_a_file_holds_is_used_or_refused(kind, tmp_path):
    holds(kind, tmp_path)
