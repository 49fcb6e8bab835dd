"""What the pictures show, read back from the Axes."""

from io import BytesIO
from itertools import pairwise
from pathlib import Path
from xml.etree.ElementTree import fromstring

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from ipywidgets import IntSlider, SelectionSlider
from matplotlib.colors import to_rgb, to_rgba
from PIL import Image, ImageSequence

from dcnlib import CoarseLayers, DynamicCapacityNetwork, FineLayers, Geometry, TopLayers, plots
from dcnlib.plots.films import film_of_patches, film_of_training
from dcnlib.plots.network import PARTS, network_diagram
from dcnlib.plots.saving import SAME_SHADE
from dcnlib.plots.sliders import with_sliders
from dcnlib.plots.training import plot_pairs, plot_training
from dcnlib.utils.statistics import ErrorRate


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def boxes_on(axes):
    """Top, left, bottom, right of each rectangle, in the order drawn."""
    corners = [patch.get_bbox() for patch in axes.patches]
    return [[box.y0, box.x0, box.y1, box.x1] for box in corners]


@pytest.mark.parametrize("shape", [(1, 20, 30), (3, 20, 30), (20, 30)])
def test_pixels_stand_where_they_are_in_the_image(axes, shape):
    image = torch.zeros(shape)
    image[..., 4, 7] = 1
    plots.show_image(axes, image)
    drawn = axes.images[0]
    assert tuple(drawn.get_extent()) == (0, 30, 20, 0)
    array = drawn.get_array()
    assert np.argwhere(np.asarray(array).reshape(20, 30, -1).max(2) == 1).tolist() == [[4, 7]]


@pytest.mark.parametrize(("geometry", "map_width"), [(Geometry(4, -1, 14), 23), (Geometry(2, 0, 3), 7)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_patch_is_framed_where_the_geometry_says(axes, geometry, map_width, channels):
    cells = torch.tensor([map_width + 2, 0, 3])
    plots.show_patch_places(axes, torch.zeros(channels, 40, 60), cells, geometry, map_width)
    top, left = geometry.stride + geometry.offset, 2 * geometry.stride + geometry.offset
    assert boxes_on(axes) == [[top, left, top + geometry.size, left + geometry.size]]


def test_the_outline_dims_exactly_the_pixels_outside_all_boxes(axes):
    plots.show_image(axes, torch.zeros(1, 12, 10))
    plots.draw_outline(axes, torch.tensor([[1, 2, 4, 5], [3, 4, 8, 9]]), dim=0.5)
    inside = np.zeros((12, 10), dtype=bool)
    inside[1:4, 2:5] = inside[3:8, 4:9] = True
    assert np.array_equal(axes.images[-1].get_array()[..., 3] == 0, inside)


def test_boxes_are_numbered_in_order(axes):
    boxes = torch.tensor([[1, 2, 4, 5], [3, 4, 8, 9]])
    plots.draw_boxes(axes, boxes, numbers=True)
    assert boxes_on(axes) == boxes.tolist()
    assert [text.get_text() for text in axes.texts] == ["1", "2"]


def test_a_path_goes_through_its_places_in_order(axes):
    plots.show_image(axes, torch.zeros(1, 20, 30))
    plots.draw_path(axes, torch.tensor([[10.0, 15.0], [4.5, 25.0], [18.0, 2.0]]))
    (line,), points = axes.lines, axes.collections[0]
    assert line.get_xydata().tolist() == points.get_offsets().tolist() == [[15, 10], [25, 4.5], [2, 18]]
    assert points.get_array().tolist() == [0, 1, 2]


def test_cells_that_never_reach_the_output_are_greyed(axes):
    plots.show_map(axes, torch.ones(5, 5), covered=4)
    shown = axes.images[0].get_array()
    assert np.isnan(np.asarray(shown)[4]).all()
    assert np.isnan(np.asarray(shown)[:, 4]).all()
    assert (np.asarray(shown)[:4, :4] == 1).all()


def test_patches_stand_side_by_side_in_order(axes):
    patches = torch.arange(1, 6).float()[:, None, None, None].expand(5, 1, 3, 3) / 5
    plots.show_patches(axes, patches, columns=4)
    sheet = np.asarray(axes.images[0].get_array())
    assert sheet.shape == (7, 15)
    assert [sheet[1, 1], sheet[1, 5], sheet[1, 9], sheet[1, 13], sheet[5, 1]] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])


def test_bars_are_the_probabilities_before_and_after(axes):
    before, after = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([3.0, 0.0, 0.0])
    plots.show_prediction(axes, before, after, label=2)
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == pytest.approx([*before.softmax(0).tolist(), *after.softmax(0).tolist()])
    assert to_rgba(axes.get_xticklabels()[2].get_color()) == to_rgba(plots.VERMILLION)


def test_a_sequence_is_shown_as_pairs_of_columns_with_the_truth_framed(axes):
    before, after = torch.randn(2, 5, 11)
    plots.show_sequence(axes, before, after, labels=torch.tensor([3, 0, 10, 10, 10]))
    shades = np.asarray(axes.images[0].get_array())
    assert shades.shape == (11, 10)
    np.testing.assert_allclose(shades[:, 0::2], before.softmax(1).T)
    np.testing.assert_allclose(shades[:, 1::2], after.softmax(1).T)
    middles = np.array(boxes_on(axes)).reshape(5, 2, 2).mean(1)  # down, across
    assert middles.tolist() == [[3, 0.5], [0, 2.5], [10, 4.5], [10, 6.5], [10, 8.5]]
    assert [axes.get_yticklabels()[row].get_text() for row in (3, 10)] == ["3", "none"]


def test_error_bars_are_the_intervals_in_percent(axes):
    rates = [ErrorRate(5, 100), ErrorRate(0, 100)]
    plots.plot_errors(axes, [1, 2], rates, label="x")
    segments = axes.collections[0].get_segments()
    for rate, segment in zip(rates, segments, strict=True):
        assert segment[:, 1] == pytest.approx([100 * bound for bound in rate.interval])


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project around the working folder."""
    for folder in ("dcnlib", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_figure_is_written_only_if_asked(axes, project):
    plots.save_figure(axes.figure, "test", save=False)
    assert not (project / "figures").exists()
    plots.save_figure(axes.figure, "test", save=True)
    first = (project / "figures" / "test.png").read_bytes()
    plots.save_figure(axes.figure, "test", save=True)
    assert (project / "figures" / "test.png").read_bytes() == first


def test_a_figure_that_fails_leaves_the_old_file(axes, project, monkeypatch):
    plots.save_figure(axes.figure, "test", save=True)
    before = (project / "figures" / "test.png").read_bytes()

    def fail_half_way(file, **options):
        file.write(before[:10])
        raise OSError("disk full")

    monkeypatch.setattr(axes.figure, "savefig", fail_half_way)
    with pytest.raises(OSError, match="disk full"):
        plots.save_figure(axes.figure, "test", save=True)
    assert [path.name for path in (project / "figures").iterdir()] == ["test.png"]
    assert (project / "figures" / "test.png").read_bytes() == before


def moving_bar(axes):
    """Draw function of a bar that is as high as the frame's number."""
    axes.set(ylim=(0, 4))
    (bar,) = axes.bar([0], [0], color=plots.BLUE)
    return bar.set_height


def test_an_animation_shows_every_frame_in_order_and_the_last_one_longest(axes):
    gif = Image.open(BytesIO(plots.animate(axes.figure, moving_bar(axes), 4, seconds=0.5)))
    blue, durations = [], []
    for frame in ImageSequence.Iterator(gif):
        pixels = np.asarray(frame.convert("RGB")).astype(int)
        blue.append(int((np.abs(pixels - 255 * np.array(to_rgb(plots.BLUE))).max(2) < 30).sum()))
        durations.append(frame.info["duration"])
    assert durations == [500, 500, 500, 1500]
    assert gif.info["loop"] == 0
    heights = np.array(blue) / blue[1]
    assert heights == pytest.approx([0, 1, 2, 3], abs=0.1)


def picture(shade, **options):
    """A figure of one shade of grey saved as `test`, and the file's bytes."""
    figure = plt.figure(figsize=(1, 1), facecolor=str(shade / 255))
    plots.save_figure(figure, "test", save=True, **options)
    plt.close(figure)
    return Path("figures/test.png").read_bytes()


def test_a_file_that_shows_the_same_to_the_eye_is_not_written_again(project):
    first = picture(100)
    assert picture(100 + SAME_SHADE) == first
    assert picture(101 + SAME_SHADE) != first


def test_a_picture_of_what_was_trained_here_replaces_none_that_is_there(project):
    first = picture(100, keep=True)
    assert picture(200, keep=True) == first
    (project / "figures" / "test.png").unlink()
    assert picture(200, keep=True) != first


def test_a_file_that_is_no_picture_is_replaced(project):
    (project / "figures").mkdir()
    (project / "figures" / "test.png").write_bytes(b"broken")
    assert picture(100) != b"broken"


def test_an_animation_is_the_same_on_each_run_and_written_only_if_asked(axes, project):
    gif = plots.animate(axes.figure, moving_bar(axes), 3)
    again, other = plt.subplots()
    assert plots.animate(again, moving_bar(other), 3) == gif
    plt.close(again)
    plots.save_animation(gif, "test", save=False)
    assert not (project / "figures").exists()
    plots.save_animation(gif, "test", save=True)
    assert (project / "figures" / "test.gif").read_bytes() == gif


def test_the_diagram_lights_the_parts_it_is_asked_for_and_is_the_same_each_time():
    everything, few = network_diagram(), network_diagram({"coarse", "fine"})
    boxes = [
        [box.attrib for box in fromstring(diagram).iter("{http://www.w3.org/2000/svg}rect")][1:]
        for diagram in (everything, few)
    ]
    assert len(boxes[0]) == len(boxes[1]) == len(PARTS)
    assert all(box["fill"] != "white" for box in boxes[0])
    assert [box["fill"] for box in boxes[1] if box["fill"] != "white"] == [
        plots.MODELS["coarse"],
        plots.MODELS["fine"],
    ]
    assert network_diagram({"fine", "coarse"}) == few


def test_a_part_that_the_diagram_lacks_is_refused():
    with pytest.raises(ValueError, match="got hints"):
        network_diagram(["hints"])


def test_each_model_has_a_colour_of_its_own():
    assert len(set(plots.MODELS.values())) == len(plots.MODELS)


def test_pixels_inside_are_those_of_any_box_of_the_image():
    boxes = torch.tensor([[[0, 0, 2, 3], [1, 1, 4, 2]], [[-2, 3, 1, 9], [5, 5, 6, 6]]])
    inside = plots.pixels_inside(boxes, range(4), range(5))
    for image, some in zip(inside, boxes.tolist(), strict=True):
        for y in range(4):
            for x in range(5):
                assert image[y, x] == any(top <= y < bottom and left <= x < right for top, left, bottom, right in some)


def test_the_searchlight_shows_the_boxes_as_they_are_and_dims_the_rest(axes):
    plots.show_searchlight(axes, torch.ones(1, 6, 8), torch.tensor([[1, 2, 3, 5]]))
    shown = np.asarray(axes.images[0].get_array())
    lit = np.zeros((6, 8), dtype=bool)
    lit[1:3, 2:5] = True
    assert (shown[lit] == 1).all()
    assert (shown[~lit] < 0.5).all()


def test_equal_vectors_are_painted_alike_in_all_maps():
    torch.manual_seed(0)
    one, other = torch.rand(6, 4, 5), torch.rand(6, 3, 2)
    other[:, 1, 1] = one[:, 2, 3]
    painted = plots.paint_maps(one, other)
    assert [tuple(each.shape) for each in painted] == [(3, 4, 5), (3, 3, 2)]
    assert all(each.min() >= 0 and each.max() <= 1 for each in painted)
    torch.testing.assert_close(painted[0][:, 2, 3], painted[1][:, 1, 1])
    assert painted[0].flatten(1).std(1).min() > 0.1


def small_network():
    torch.manual_seed(0)
    boxes = {"coarse": CoarseLayers(), "fine": FineLayers(), "top": TopLayers()}
    return DynamicCapacityNetwork(**boxes, image_shape=(1, 60, 60)).eval()


def frames_of(gif):
    return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(Image.open(BytesIO(gif)))]


def test_a_film_of_patches_has_a_frame_for_each_number_of_them():
    frames = frames_of(film_of_patches(small_network(), torch.rand(1, 60, 60), 3, most=2))
    assert len(frames) == 3
    assert all((one != other).any() for one, other in pairwise(frames))
    assert not plt.get_fignums()


def test_a_film_of_a_training_has_a_frame_for_each_look():
    model, images = small_network(), torch.rand(2, 1, 60, 60)
    history = {name: np.arange(1.0, 9.0) for name in ("coarse_length", "fine_length", "cosine", "distance")}
    looks = {0: model.attend(images, k=2), 8: model.attend(images, k=4)}
    assert len(frames_of(film_of_training(images, looks, history, model.geometry))) == 2
    assert not plt.get_fignums()


def test_a_training_is_drawn_as_it_was():
    names = ("cross_entropy", "hint", "coarse_length", "fine_length", "cosine", "distance")
    history = {name: np.arange(1.0, 5.0) * number for number, name in enumerate(names, start=1)}
    figure = plot_training(history, guess=2.3, mark=2)
    drawn = [[line.get_ydata().tolist() for line in axes.lines if len(line.get_ydata()) == 4] for axes in figure.axes]
    told = {name: values.tolist() for name, values in history.items()}
    lengths = [told["coarse_length"], told["fine_length"]]
    assert drawn[:3] == [[told["cross_entropy"]], [told["hint"]], lengths]
    assert drawn[3] == [told["cosine"], (history["distance"] / history["fine_length"]).tolist()]
    plt.close(figure)


def test_pairs_are_drawn_with_their_medians():
    groups = ("chosen", "passed over", "unrelated")
    pairs = {("a", group): (np.full(9, 0.2 * n), np.full(9, 0.1 * n)) for n, group in enumerate(groups, start=1)}
    figure = plot_pairs(pairs, {"a": "the one network"})
    medians = [[line.get_xdata()[0] for line in axes.lines] for axes in figure.axes]
    assert medians[0] == pytest.approx([0.2, 0.4, 0.6])
    assert medians[1] == pytest.approx([0.1, 0.2, 0.3])
    plt.close(figure)


def test_patches_that_nobody_looked_at_are_not_drawn():
    dcn = small_network()
    images = torch.rand(2, 1, 60, 60)
    look = dcn.attend(images, k=torch.tensor([1, 8]))
    grid = plots.show_attention(dcn, images, torch.tensor([3, 4]), look)
    alone = plots.show_attention(dcn, images[:1], torch.tensor([3]), dcn.attend(images[:1], k=1))
    assert [row[0].get_title() for row in grid] == ["image and its 1 patches", "image and its 8 patches"]
    for ours, expected in zip(grid[0][:3], alone[0][:3], strict=True):
        assert len(ours.patches) == len(expected.patches)
        assert len(ours.images) == len(expected.images)
    plt.close("all")


def test_the_picture_follows_its_sliders_and_leaves_no_figure_open():
    asked = []

    def draw(k, image):
        asked.append((k, image))
        figure, ax = plt.subplots(figsize=(2, 1))
        ax.set_title(f"{k} of {image}")
        return figure

    k, image = IntSlider(3, max=9), SelectionSlider(options=["a", "b"], value="b")
    before = plt.get_fignums()
    together = with_sliders(draw, k=k, image=image)
    *controls, picture = together.children
    assert controls == [k, image]
    assert [control.description for control in controls] == ["k", "image"]
    first = bytes(picture.value)
    assert first.startswith(b"\x89PNG")
    k.value = 5
    assert bytes(picture.value) != first
    k.value, image.value = 3, "a"
    assert asked == [(3, "b"), (5, "b"), (3, "b"), (3, "a")]
    assert plt.get_fignums() == before
