"""The 20,000 cases of the slow tier and some hundreds of the first: files, settings, texts and pipes."""

import pytest

from tests.fuzz.campaign import CASES, FEW, SHARES, holds


def test_the_shares_make_a_whole():
    assert sum(round(CASES * share) for share in SHARES.values()) == CASES


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sounds", "graphs", "checkpoints", "archives"])
def test_whatever_a_file_holds_is_used_or_refused(kind, tmp_path):
    holds(kind, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cards", "labels", "configs", "streams"])
def test_whatever_is_given_is_used_or_refused(kind, tmp_path):
    holds(kind, tmp_path)


@pytest.mark.parametrize("kind", SHARES)
def test_the_first_cases_of_each_kind(kind, tmp_path):
    holds(kind, tmp_path, FEW)
