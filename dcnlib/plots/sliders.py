"""A picture that follows sliders, for notebooks."""

import io
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
from ipywidgets import Image, VBox, Widget
from matplotlib.figure import Figure


def with_sliders(draw: Callable[..., Figure], **controls: Widget) -> VBox:
    """Controls, such as sliders, and below them the figure that `draw` makes of their values, drawn anew at each move.

    `controls` go by the names of `draw`'s arguments. The picture is the state of a widget, which only the kernel sends.
    What is printed or shown by the function of ipywidgets' `interact`, the front end sends back to the kernel; where
    that is nbclient (papermill), it may then wait for ever for the cell's end (jupyter/nbclient, issue 312).
    """
    picture = Image(format="png", layout={"max_width": "100%", "object_fit": "contain"})

    def follow(_: Any = None) -> None:
        figure = draw(**{name: control.value for name, control in controls.items()})
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", bbox_inches="tight")
        plt.close(figure)
        picture.value = drawn.getvalue()

    for name, control in controls.items():
        control.description = name
        control.observe(follow, "value")
    follow()
    together = VBox([*controls.values(), picture])
    together.add_class("dcnlib-sliders")
    return together
