"""The explorer without a browser: what it shows, what it refuses, and that its widgets hand on just that."""

import base64
from io import BytesIO

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hatchling.builders.wheel import WheelBuilder
from PIL import Image

from dcnlib import (
    ClutteredMNIST,
    Geometry,
    count_multiplications,
    entropy,
    extract_patches,
    load_pretrained,
    plots,
    select_patches,
)
from dcnlib.analysis.cost import count_rounds
from dcnlib.analysis.looks import MOST_PATCHES, find_changes, look_at_cells, looks, with_policy
from dcnlib.core.policies import POLICIES, oracle_scores
from dcnlib.explorer.plots import show_changes, show_look, show_sweep, show_view
from dcnlib.explorer.state import POLICY_NAMES, Choices, Explorer
from dcnlib.explorer.widgets import COLORS, ExplorerWidget, FinderWidget, SweepWidget
from dcnlib.utils.files import project_root

MODEL = "dcn-k8-hints"


@pytest.fixture(scope="module")
def data(embedded):
    return ClutteredMNIST(embedded.subset(300), seed=5)


@pytest.fixture(scope="module")
def dcns():
    return {name: load_pretrained(name) for name in (MODEL, "dcn-k8-no-hints")}


@pytest.fixture(scope="module")
def references():
    return {name: load_pretrained(name) for name in ("coarse", "fine")}


@pytest.fixture
def explorer(dcns, data, references):
    return Explorer(dcns, data, references)


@pytest.fixture
def widget(explorer):
    return ExplorerWidget(explorer, index=3, covered=22)


# Looks


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", POLICIES)
def test_looks_at_every_k_are_those_of_the_model(make_dcn, channels, policy):
    dcn = make_dcn(channels=channels, policy=policy)
    image = torch.rand(channels, 11, 15, dtype=torch.float64)
    torch.manual_seed(1)
    found = looks(dcn, image, policy=policy)
    assert [look.k for look in found] == list(range(MOST_PATCHES + 1))
    for look in found:
        one = dcn.attend(image[None], cells=found[-1].cells[None, : look.k])
        assert torch.equal(look.cells, one.cells[0])
        assert torch.equal(look.saliency, one.saliency[0])
        torch.testing.assert_close(look.before, one.coarse_logits[0].softmax(0))
        torch.testing.assert_close(look.after, one.logits[0].softmax(0))
        assert look.entropy_before == pytest.approx(one.entropy.item())
        assert look.entropy_after == pytest.approx(entropy(one.logits).item())
        if policy != "random":
            assert torch.equal(look.cells, dcn.attend(image[None], k=look.k).cells[0])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("geometry", [None, Geometry(2, -1, 5), Geometry(2, 0, 5)])
def test_boxes_lie_where_the_patches_were_cut(make_dcn, channels, geometry):
    dcn = make_dcn(channels=channels, geometry=geometry)
    image = torch.rand(channels, 11, 15, dtype=torch.float64)
    look = looks(dcn, image)[12]
    patches = extract_patches(image[None], look.cells[None], dcn.geometry, look.saliency.shape)[0]
    padded = torch.nn.functional.pad(image, (8, 8, 8, 8))
    for patch, (top, left, bottom, right) in zip(patches, (look.boxes + 8).tolist(), strict=True):
        assert torch.equal(padded[:, top:bottom, left:right], patch)


@pytest.mark.parametrize("shape", [(1, 11, 15), (3, 13, 21)])
def test_one_function_tells_every_picture_where_a_patch_lies(make_dcn, monkeypatch, shape):
    dcn, image = make_dcn(channels=shape[0], image_shape=shape), torch.rand(shape, dtype=torch.float64)

    def places():
        look = looks(dcn, image)[1]
        _, (places_axes, look_axes) = plt.subplots(1, 2)
        width = look.saliency.shape[1]
        plots.show_patch_places(places_axes, image, look.cells, dcn.geometry, width)
        show_look(look_axes, image, look)
        grid = plots.show_attention(dcn, image[None], torch.tensor([0]), dcn.attend(image[None], k=1))
        frames = [axes.patches[0].get_bbox() for axes in (places_axes, grid[0, 0])]
        number = look_axes.texts[0].get_position()
        plt.close("all")
        return look.boxes[0, :2].tolist(), *[(frame.y0, frame.x0) for frame in frames], number

    before = places()
    original = Geometry.boxes
    monkeypatch.setattr(Geometry, "boxes", lambda *arguments: original(*arguments) + 2)
    for was, now in zip(before, places(), strict=True):
        assert np.subtract(now, was).tolist() == [2, 2]


def test_distances_are_between_the_coarse_and_the_fine_vector_of_each_cell(make_dcn):
    dcn = make_dcn()
    image = torch.rand(1, 11, 15, dtype=torch.float64)
    look = looks(dcn, image)[5]
    attention = dcn.attend(image[None], k=5)
    for n, cell in enumerate(look.cells.tolist()):
        coarse_vector = attention.coarse_map[0, :, cell // 7, cell % 7]
        assert look.distances[n].item() == pytest.approx((coarse_vector - attention.fine_vectors[0, n]).norm().item())


def test_a_small_map_is_looked_at_with_all_its_cells(make_dcn):
    dcn = make_dcn(image_shape=None)
    assert len(looks(dcn, torch.rand(1, 7, 9, dtype=torch.float64))) == 3 * 4 + 1


def test_cells_may_be_given(make_dcn):
    dcn = make_dcn()
    image = torch.rand(1, 11, 15, dtype=torch.float64)
    look = look_at_cells(dcn, image, torch.tensor([30, 2]))
    torch.testing.assert_close(look.after, dcn(image[None], cells=torch.tensor([[30, 2]]))[0].softmax(0))
    assert look_at_cells(dcn, image, torch.tensor([], dtype=torch.int64)).answer == look.answer_before


def test_another_policy_leaves_the_model_its_own(make_dcn):
    class Brightest(torch.nn.Module):
        def forward(self, first):
            return first.coarse_map.sum(1)

    image, learned, plain = torch.rand(1, 11, 15, dtype=torch.float64), Brightest(), make_dcn()
    own = make_dcn(policy=learned)
    for policy, expected in ((learned, own), ("center", make_dcn(policy="center"))):
        for dcn in (plain, own):
            found = looks(dcn, image, policy=policy)[4].cells
            assert torch.equal(found, expected.attend(image[None], k=4).cells[0])
    with pytest.warns(DeprecationWarning, match=r"dcn\(images, policy=policy\)"):
        assert with_policy(own, "center").policy is POLICIES["center"]
    with pytest.warns(DeprecationWarning, match=r"dcn\(images, policy=policy\)"):
        assert with_policy(torch.compile(own, backend="eager"), "center").policy is POLICIES["center"]
    assert own.policy is learned
    assert plain.policy is POLICIES["entropy-gradient"]


def test_changes_are_found_and_sorted_into_groups(dcns, data):
    changes = find_changes(dcns[MODEL], data, k=4, batch_size=70)
    images, labels = data[np.arange(len(data))]
    with torch.no_grad():
        before, after = dcns[MODEL](images, k=0), dcns[MODEL](images, k=4)
    assert torch.equal(changes.labels, labels)
    assert torch.equal(changes.before, before.argmax(1))
    assert torch.equal(changes.after, after.argmax(1))
    torch.testing.assert_close(changes.entropy_before, entropy(before), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(changes.entropy_after, entropy(after), rtol=1e-3, atol=1e-4)

    fixed, broken, falling, rising = changes.groups(5).values()
    assert fixed
    assert all(changes.before[n] != labels[n] and changes.after[n] == labels[n] for n in fixed)
    assert all(changes.before[n] == labels[n] and changes.after[n] != labels[n] for n in broken)
    rise = changes.entropy_after - changes.entropy_before
    assert falling == rise.argsort()[:5].tolist()
    assert rising == rise.argsort(descending=True)[:5].tolist()


# The explorer


def test_a_view_holds_looks_costs_and_what_single_models_say(explorer, dcns, references, data):
    view = explorer.view(Choices(MODEL, index=7))
    image, label = data[7]
    assert (view.subject.title, view.subject.label) == ("validation image 7", label)
    assert torch.equal(view.subject.image, image)
    assert torch.equal(view.subject.box, data.boxes[7])
    costs = [count_multiplications(dcns[MODEL], k=k).total for k in range(MOST_PATCHES + 1)]
    assert view.multiplications == costs
    for reference in view.references:
        model = references[reference.name]
        assert reference.answer == int(model(image[None]).argmax())
        assert reference.multiplications == count_multiplications(model).total
    assert view.hand is None


def test_new_clutter_puts_the_same_digit_elsewhere(explorer, data):
    view = explorer.view(Choices(MODEL, source="new clutter", index=7, seed=11))
    again = ClutteredMNIST(data.digits, seed=11)
    assert torch.equal(view.subject.image, again[7][0])
    assert view.subject.label == data[7][1]
    assert not torch.equal(view.subject.image, data[7][0])


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_every_policy_looks_where_it_should(explorer, dcns, data, policy):
    view = explorer.view(Choices(MODEL, index=2, policy=policy))
    cells = view.looks[8].cells
    if policy == "oracle":
        scores = oracle_scores(data.boxes[[2]], dcns[MODEL].geometry, (23, 23))
        assert torch.equal(cells, select_patches(scores, 8)[0])
    elif policy == "random":
        assert len(set(cells.tolist())) == 8
        explorer.view(Choices("dcn-k8-no-hints", index=2, policy=policy))
        again = Explorer(dcns, data, {}).view(Choices(MODEL, index=2, policy=policy))
        assert torch.equal(again.looks[8].cells, cells)  # else the patches would jump while you look
    else:
        assert torch.equal(cells, dcns[MODEL].attend(data[2][0][None], k=8, policy=policy).cells[0])


def test_random_cells_leave_the_generator_alone(explorer):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    explorer.view(Choices(MODEL, index=1, policy="entropy-gradient"))
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("policy", ["entropy-gradient", "random", "oracle"])
def test_until_sure_is_what_the_network_does(explorer, dcns, policy):
    """Patches by hand leave it, and so does a k of one's own."""
    dcn, stopped = dcns[MODEL], set()
    for index in range(12):
        view = explorer.view(Choices(MODEL, index=index, policy=policy, entropy_below=0.05))
        k, look = view.sure.patches, view.looks[view.sure.patches]
        assert k == next((n for n in (0, 1, 2, 4, 8) if view.looks[n].entropy_after < 0.05), 16)
        assert view.sure.entropy == pytest.approx(look.entropy_after, rel=1e-3, abs=1e-5)
        stopped.add(k)
        if policy == "entropy-gradient":
            assert dcn.adaptive(view.subject.image[None], 0.05).patches_used.item() == k
            rounds = (1, 2, 4, 8, 16)
            assert view.sure.multiplications == count_rounds(dcn, rounds)[(0, *rounds).index(k)]
    assert len(stopped) >= 2
    assert explorer.view(Choices(MODEL, policy=policy, entropy_below=0)).sure.patches == 16
    assert explorer.view(Choices(MODEL, policy=policy, entropy_below=1e9)).sure.patches == 0
    assert explorer.view(Choices(MODEL, policy=policy, entropy_below=0.05, cells=(3,))).sure is None
    assert explorer.view(Choices(MODEL, policy=policy)).sure is None


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (Choices(MODEL, entropy_below=-0.1), r"must be 0 or more .*, got -0\.1"),
        (Choices("cnn"), "model must be one of dcn-k8-hints"),
        (Choices(MODEL, policy="best"), "policy must be one of entropy-gradient"),
        (Choices(MODEL, source="camera"), "source must be one of validation"),  # type: ignore[arg-type]
        (Choices(MODEL, index=300), r"there is no image 300: the numbers are 0\.\.299"),
        (Choices(MODEL, index=-1), "there is no image -1"),
        (Choices(MODEL, source="new clutter", seed=-1), "seed"),
        (Choices(MODEL, source="upload"), "no image was uploaded yet"),
        (Choices(MODEL, cells=(1, 1)), r"choose 0\.\.32 different patches, got 2"),
        (Choices(MODEL, cells=tuple(range(33))), r"choose 0\.\.32 different patches, got 33"),
        (Choices(MODEL, cells=(529,)), r"cells are numbered 0\.\.528"),
    ],
)
def test_what_cannot_be_chosen_is_refused_with_the_reason(explorer, choices, message):
    with pytest.raises(ValueError, match=message):
        explorer.view(choices)


def test_an_explorer_needs_a_network(data):
    with pytest.raises(ValueError, match="at least one DCN"):
        Explorer({}, data, {})


def test_the_score_compares_the_latest_patches_of_each_image_with_the_gradients(explorer, data):
    first = explorer.view(Choices(MODEL, index=1))
    assert (first.games, first.your_score.right) == (0, 0)
    explorer.view(Choices(MODEL, index=1, cells=(0, 1, 2)))
    hand_1 = explorer.view(Choices(MODEL, index=1, cells=(200, 201))).hand
    view = explorer.view(Choices(MODEL, index=4, cells=(300,)))
    assert torch.equal(hand_1.gradients.cells, explorer.view(Choices(MODEL, index=1)).looks[2].cells)
    assert view.games == 2
    labels = data[1][1], data[4][1]
    for score, pair in (
        (view.your_score, (hand_1.look, view.hand.look)),
        (view.gradients_score, (hand_1.gradients, view.hand.gradients)),
    ):
        assert score.right == sum(look.answer == label for look, label in zip(pair, labels, strict=True))
        assert score.truth == pytest.approx(sum(look.after[n].item() for look, n in zip(pair, labels, strict=True)) / 2)
        assert score.entropy == pytest.approx(sum(look.entropy_after for look in pair) / 2)
    assert explorer.view(Choices(MODEL, index=9, cells=())).games == 2  # no patches, no game
    explorer.forget_games()
    assert explorer.view(Choices(MODEL, index=1)).games == 0


def test_what_a_hand_chooses_costs_no_saliency(explorer, dcns):
    view = explorer.view(Choices(MODEL, index=1, cells=(200, 201)))
    parts = count_multiplications(dcns[MODEL], k=2, policy="center")
    assert view.hand.multiplications == parts.total < view.multiplications[2]


# Uploads


def encode(image, form="PNG", **options):
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_an_upload_is_the_image_of_its_own_source(explorer):
    explorer.upload("a.png", encode(Image.new("L", (50, 50))))
    view = explorer.view(Choices(MODEL, source="upload", cells=(3,)))
    assert (view.subject.title, view.subject.label, view.subject.box) == ("your image a.png", None, None)
    assert view.games == 0
    with pytest.raises(ValueError, match="the oracle knows where generated digits lie"):
        explorer.view(Choices(MODEL, source="upload", policy="oracle"))


def test_a_picture_of_the_right_size_is_taken_pixel_for_pixel(explorer, data):
    subject = explorer.upload("x.png", encode(Image.fromarray(data.render([6])[0])))
    assert torch.equal(subject.image, data[6][0])
    assert subject.notes == ()


def test_light_and_dark_are_the_users_choice(explorer, data):
    """A negative is turned by itself, and back as the user says; what was chosen lasts for one picture."""
    negative = encode(Image.fromarray(255 - data.render([6])[0]))
    explorer.upload("x.png", negative)
    light_on_dark, as_it_is, inverted = (
        explorer.view(Choices(MODEL, source="upload", invert=invert)) for invert in (None, False, True)
    )
    assert torch.equal(light_on_dark.subject.image, data[6][0])
    assert torch.equal(inverted.subject.image, data[6][0])
    torch.testing.assert_close(as_it_is.subject.image, 1 - data[6][0])
    assert light_on_dark.subject.notes == ("inverted as it shows dark on light",)
    assert inverted.subject.notes == ("inverted as asked",)
    assert light_on_dark.looks[8].answer == data[6][1]
    assert explorer.subject(Choices(MODEL, source="upload")) is light_on_dark.subject  # and not looked at again


def test_what_is_no_picture_is_refused_and_the_last_one_stays(explorer):
    kept = explorer.upload("a.png", encode(Image.new("L", (50, 50))))
    for content in (b"", b"no picture", encode(Image.effect_noise((90, 90), 50))[:2000]):
        with pytest.raises(ValueError, match=r"^x"):
            explorer.upload("x", content)
    assert explorer.subject(Choices(MODEL, source="upload")) is kept


# Widgets, from the side of Python


def pixels_of(address):
    kind, content = address.split(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(BytesIO(base64.b64decode(content))))


def test_the_widget_hands_on_what_the_view_holds(widget, explorer, data):
    view = explorer.view(Choices(MODEL, index=3))
    shown = widget.view
    assert np.array_equal(pixels_of(shown["image"]), data.render([3])[0])
    assert shown["truth"] == data[3][1]
    assert len(shown["looks"]) == 33
    for k in (0, 1, 32):
        look, sent = view.looks[k], shown["looks"][k]
        assert sent["boxes"] == look.boxes.tolist()
        assert sent["after"] == pytest.approx(look.after.tolist())
        assert sent["entropy_after"] == look.entropy_after
        assert sent["distances"] == pytest.approx(look.distances.tolist())
    assert shown["multiplications"] == view.multiplications
    saliency = pixels_of(shown["saliency"])
    assert saliency.shape == (23, 23, 4)
    assert (saliency[22] == saliency[22, 0]).all()  # never reaches the output: grey
    assert len(set(saliency[22, 0][:3].tolist())) == 1
    assert shown["centres"]["rows"][:2] == [6, 10]
    assert COLORS["orange"] == plots.ORANGE


def test_a_colour_image_of_another_size_is_handed_on(make_dcn):
    class Colour:
        boxes = torch.tensor([[0, 0, 5, 5]])

        def __len__(self):
            return 1

        def __getitem__(self, index):
            images, labels = torch.full((1, 3, 11, 15), 0.25, dtype=torch.float64), torch.tensor([2])
            return (images, labels) if isinstance(index, list) else (images[index], int(labels[index]))

    dcn = make_dcn(channels=3)
    shown = ExplorerWidget(Explorer({"mine": dcn}, Colour(), {})).view
    assert pixels_of(shown["image"]).shape == (11, 15, 3)
    assert (shown["size"], shown["map"], shown["patch"]) == ([11, 15], [5, 7], [5, 5])
    rows, columns = shown["centres"]["rows"], shown["centres"]["columns"]
    for cell, (top, left, bottom, right) in zip(*(shown["looks"][32][key] for key in ("cells", "boxes")), strict=True):
        assert (rows[cell // 7], columns[cell % 7]) == ((top + bottom) / 2, (left + right) / 2)


def test_a_choice_is_answered_under_its_number(widget):
    widget.choose(index=9, k=4)
    assert (widget.view["title"], widget.view["request"], widget.k) == ("validation image 9", 1, 4)
    widget.choices = {**widget.choices, "cells": [40, 41], "request": 2}  # as from the browser
    assert widget.view["hand"]["look"]["cells"] == [40, 41]
    assert widget.view["games"] == 1
    widget._receive(widget, {"kind": "forget"}, [])
    assert (widget.view["games"], widget.view["hand"]) == (0, None)
    assert widget.view["sure"] is None
    widget.choose(entropy_below=1e9)
    sure = widget.view["sure"]
    assert (sure["patches"], sure["multiplications"]) == (0, widget.view["multiplications"][0])
    assert widget.view["chosen"]["entropy_below"] == 1e9


def test_an_upload_arrives_by_message(widget, data):
    content = encode(Image.fromarray(255 - data.render([6])[0]))
    widget._receive(widget, {"kind": "upload", "name": "a.png", "size": len(content)}, [memoryview(content)])
    assert widget.view["title"] == "your image a.png"
    assert widget.view["notes"] == ("inverted as it shows dark on light",)
    assert np.array_equal(pixels_of(widget.view["image"]), data.render([6])[0])
    widget.choose(invert=False)
    assert np.array_equal(pixels_of(widget.view["image"]), 255 - data.render([6])[0])


def test_the_next_upload_is_looked_at_afresh(widget, data):
    for _ in range(2):
        content = encode(Image.fromarray(255 - data.render([6])[0]))
        widget._receive(widget, {"kind": "upload", "name": "a.png", "size": len(content)}, [memoryview(content)])
        assert np.array_equal(pixels_of(widget.view["image"]), data.render([6])[0])
        widget.choose(invert=False)


def test_errors_are_told_and_the_last_view_stays(widget, monkeypatch, caplog):
    widget.choose(index=999)
    assert widget.error == {"request": 1, "message": "there is no image 999: the numbers are 0..299"}
    assert widget.view["request"] == 0
    widget._receive(widget, {"kind": "upload", "name": "a.png", "size": 10**7}, [memoryview(b"")])
    assert widget.error["message"] == "a.png has 10.0 MB, but at most 5 MB can be read"
    widget.choose(index=1)
    assert widget.view["request"] == 2 > widget.error["request"]

    def broken(choices):
        raise RuntimeError("a bug")

    monkeypatch.setattr(widget.explorer, "view", broken)
    widget.choose(index=2)
    assert widget.error["message"] == "RuntimeError: a bug"


def test_sweep_and_finder_belong_to_an_explorer(widget, explorer, data):
    assert SweepWidget(widget).explorer is widget
    changes = find_changes(explorer.dcns[MODEL], data, k=8)
    found = FinderWidget(widget, changes, model=MODEL, most=3).found
    assert [group["title"] for group in found["groups"]] == list(changes.groups(3))
    for group, numbers in zip(found["groups"], changes.groups(3).values(), strict=True):
        assert [image["index"] for image in group["images"]] == numbers
    first = found["groups"][0]["images"][0]
    n = first["index"]
    assert first["caption"] == f"{changes.before[n]} → {changes.after[n]}"
    assert np.array_equal(pixels_of(first["image"]), data.render([n])[0])


def test_the_scripts_travel_with_the_wheel():
    files = {file.distribution_path for file in WheelBuilder(str(project_root())).recurse_included_files()}
    here = {
        f"dcnlib/explorer/widgets/{path.name}"
        for path in (project_root() / "dcnlib" / "explorer" / "widgets").iterdir()
        if path.is_file()
    }
    assert here <= files
    assert {"dcnlib/explorer/widgets/explorer.js", "dcnlib/explorer/widgets/style.css"} <= here


# Pictures


def test_the_picture_of_a_view_shows_its_look(explorer):
    view = explorer.view(Choices(MODEL, index=3))
    figure = show_view(view, 5, covered=22)
    image, saliency, bars, distances, doubts, costs = figure.axes
    assert [text.get_text() for text in image.texts] == ["1", "2", "3", "4", "5"]
    middle = (view.looks[5].boxes[:, :2] + view.looks[5].boxes[:, 2:]) / 2
    assert [text.get_position()[::-1] for text in image.texts] == [tuple(place) for place in middle.tolist()]
    shown = saliency.images[0].get_array()
    assert np.allclose(shown[:22, :22], view.looks[5].saliency[:22, :22])
    heights = [bar.get_height() for bar in bars.patches]
    assert heights == pytest.approx([*view.looks[5].before.tolist(), *view.looks[5].after.tolist()], abs=1e-5)
    assert [bar.get_height() for bar in distances.patches] == pytest.approx(view.looks[5].distances.tolist())
    widths = [bar.get_width() for bar in doubts.patches]
    assert widths == pytest.approx([view.looks[5].entropy_after, view.looks[5].entropy_before])
    assert costs.patches[-1].get_width() == pytest.approx(view.multiplications[5] / 1e6)
    plt.close(figure)


def test_the_picture_of_a_sweep_tells_every_answer(explorer):
    view = explorer.view(Choices(MODEL, index=3))
    figure = show_sweep(view)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"k = {look.k}: {look.answer} ({look.entropy_after:.2f})" for look in view.looks]
    plt.close(figure)


def test_the_picture_of_changes_shows_each_group(explorer, data):
    changes = find_changes(explorer.dcns[MODEL], data, k=8)
    figure = show_changes(changes, data, most=4)
    fixed = changes.groups(4)["wrong before, right after"]
    titles = [axes.get_title().split(":")[0] for axes in figure.axes[:4]]
    assert titles[: len(fixed)] == [str(n) for n in fixed]
    plt.close(figure)
