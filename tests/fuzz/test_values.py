"""The 20,000 cases of CI, second half: settings, texts and pipes."""

import pytest

from tests.fuzz.campaign import holds


@pytest.mark.parametrize("kind", ["cards", "labels", "configs", "streams"])
def test_whatever_is_given_is_used_or_refused(kind, tmp_path):
    holds(kind, tmp_path)
