"""Who gets how many threads."""

import pytest

from eyas.parallel import share_threads


@pytest.mark.parametrize(
    ("arguments", "threads"),
    [
        ({}, 8),
        ({"workers": 3}, 2),
        ({"workers": 64}, 1),
        ({"wanted": 4}, 4),
        ({"wanted": 4, "workers": 2}, 2),
        ({"macs": 0.99e9}, 1),
        ({"macs": 1e9}, 8),
        ({"macs": 1e6, "wanted": 4}, 4),
        ({"wanted": 0}, 8),
    ],
)
def test_cores_are_divided_unless_threads_are_asked_for_or_a_batch_is_small(arguments, threads):
    assert share_threads(8, **arguments) == threads
