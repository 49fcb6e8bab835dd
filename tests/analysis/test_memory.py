"""Memory at the peak of a look, counted in a process of its own."""

import sys

import pytest

from dcnlib.analysis.memory import peak_memory_of


@pytest.mark.skipif(sys.platform != "linux", reason="counts as Linux does")
def test_a_pass_needs_what_its_first_map_takes():
    """100 x 100 pixels make 12 x 47 x 47 numbers first; many times that would be a leak."""
    peak = peak_memory_of("coarse", (1, 100, 100))
    assert 4 * 12 * 47 * 47 < peak < 20_000_000
