"""Memory at the peak of a look, counted in a process of its own."""

import sys

import pytest

from dcnlib.analysis.memory import peak_memory_of


@pytest.mark.skipif(sys.platform != "linux", reason="counts as Linux does")
def test_a_pass_needs_what_its_first_map_takes():
    """100 x 100 pixels make 24 x 98 x 98 numbers first; many times that would be a leak."""
    peak = peak_memory_of("fine", (1, 100, 100))
    assert 4 * 24 * 98 * 98 < peak < 40_000_000
