"""The core that a process keeps to is the one which others need least."""

import pytest

from log10_server.runtime.cpu_affinity import idlest


@pytest.mark.parametrize(
    ("shares", "mine", "own", "expected"),
    [
        ({0: 0.9, 1: 0.1}, None, 0.0, 1),
        ({0: 0.3, 1: 0.3}, None, 0.0, 1),  # the first one often serves the devices too
        ({0: 0.1, 1: 1.0}, 1, 1.0, 1),  # it is we who keep it busy
        ({0: 0.1, 1: 1.0}, 1, 0.5, 0),  # others need half of it
        ({0: 0.45, 1: 1.0}, 1, 0.5, 1),  # not clearly less there
        ({0: 1.0, 1: 1.0}, 0, 0.4, 0),
        ({}, 1, 0.5, 1),
        ({}, None, 0.0, None),
    ],
)
def test_the_idlest_core_is_taken_and_kept_while_others_need_it_little(
    shares: dict[int, float], mine: int | None, own: float, expected: int | None
) -> None:
    assert idlest(shares, mine, own) == expected
