"""From pictures to answers: the network's own, the explorer's too, and with what is needed to doubt them."""

import math
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from svhn_files import Entry, write_folder

from dcnlib.core.saliency import entropy
from dcnlib.data.cluttered_mnist import ClutteredMNIST
from dcnlib.data.house_numbers.images import HouseNumberImages
from dcnlib.data.house_numbers.numbers import NO_DIGIT, number_text
from dcnlib.data.house_numbers.svhn import decode_svhn
from dcnlib.data.pictures import read_picture
from dcnlib.explorer.state import Choices, Explorer
from dcnlib.inference.predict import Prediction, predict
from dcnlib.models.pretrained import load_trained
from dcnlib.models.tasks import CLUTTERED_MNIST, HouseNumbersTask

DCN = "dcn-k8-hints"


@pytest.fixture(scope="module")
def data(embedded):
    return ClutteredMNIST(embedded.subset(300), seed=5)


@pytest.fixture(scope="module")
def dcn():
    return load_trained(DCN)


# The answer


@pytest.mark.parametrize("name", [DCN, "coarse", "ram", "draw", "perturbed-topk", "soft-attention"])
def test_an_image_as_a_picture_gets_the_models_own_answer(name, data):
    model = load_trained(name).model
    for number in range(2):
        (prediction,) = predict(name, data.render([number])[0], device="cpu")
        with torch.no_grad():
            look = model.attend(data[number][0][None])
        assert torch.equal(prediction.probabilities, look.logits[0].softmax(0))
        assert prediction.answer == str(int(look.logits.argmax()))
        assert prediction.probability == pytest.approx(float(look.logits.softmax(1).max()))
        assert prediction.entropy == pytest.approx(entropy(look.logits).item())
        assert prediction.most_entropy == pytest.approx(math.log(10))
        torch.testing.assert_close(prediction.boxes, look.boxes[0].double().clamp(0, 100))
        assert prediction.notes == ()
        first = getattr(look, "coarse_logits", None)
        assert prediction.first_answer == (None if first is None else str(int(first.argmax())))
        assert prediction.first_entropy == (None if first is None else entropy(first).item())


def test_an_answer_depends_on_nothing_else_in_the_list(dcn, data):
    pictures = [data.render([n])[0] for n in range(6)]
    alone = [predict(dcn, [picture])[0] for picture in pictures]
    together = predict(dcn, pictures)
    mixed = predict(dcn, (picture for picture in [*pictures[::-1], np.ones((7, 300))]))
    for one, other, third in zip(alone, together, mixed[-2::-1], strict=True):
        assert torch.equal(one.probabilities, other.probabilities)
        assert torch.equal(one.probabilities, third.probabilities)
        assert torch.equal(one.boxes, third.boxes)
    assert [prediction.name for prediction in together] == [f"picture {n}" for n in range(1, 7)]
    assert predict(dcn, []) == []


def test_one_picture_stands_for_a_list_of_one(dcn, data, tmp_path):
    pixels = data.render([3])[0]
    path = tmp_path / "mine.png"
    Image.fromarray(pixels).save(path)
    content = path.read_bytes()
    sources = (path, str(path), content, Image.open(path), pixels, torch.from_numpy(pixels), read_picture(path))
    found = [predict(dcn, source) for source in sources]
    for (prediction,) in found:
        assert torch.equal(prediction.probabilities, found[0][0].probabilities)
    assert [prediction.name for (prediction,) in found] == [str(path)] * 2 + ["picture 1"] * 4 + [str(path)]
    batch = predict(dcn, data[[3, 4]][0])  # (B, C, H, W)
    assert len(batch) == 2
    assert torch.equal(batch[0].probabilities, found[0][0].probabilities)


def test_k_belongs_to_the_call(dcn, data):
    picture = data.render([3])[0]
    for k in (0, 3):
        (prediction,) = predict(dcn, picture, k=k)
        look = dcn.model.attend(data[3][0][None], k=k)
        assert prediction.boxes.shape == (k, 4)
        assert torch.equal(prediction.probabilities, look.logits[0].softmax(0))
    assert len(predict("perturbed-topk", picture, k=2)[0].boxes) == 2
    with pytest.raises(ValueError, match="draw is of kind draw, which chooses no patches: leave k out"):
        predict("draw", picture, k=2)


def test_invert_is_yes_no_or_neither(dcn, data):
    for invert in ("no", 0, np.True_):
        with pytest.raises(TypeError, match="invert must be True, False or None, got"):
            predict(dcn, data.render([3])[0], invert=invert)


def test_the_callers_model_stays_as_it_was(dcn, data):
    dcn.model.train()
    before = {name: value.clone() for name, value in dcn.model.state_dict().items()}
    (prediction,) = predict(dcn, data.render([3])[0])
    assert dcn.model.training
    dcn.model.eval()
    assert torch.equal(prediction.probabilities, predict(dcn, data.render([3])[0])[0].probabilities)
    for name, value in dcn.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_what_cannot_be_read_is_named(dcn, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png can't be read as a picture"):
        predict(dcn, [np.zeros((9, 9)), tmp_path / "text.png"])
    with pytest.raises(FileNotFoundError, match=r"no picture at .*nowhere\.png"):
        predict(dcn, [tmp_path / "nowhere.png"])
    with pytest.raises(ValueError, match=r"picture 2: values of floats must be in \[0, 1\], got nan"):
        predict(dcn, [np.zeros((9, 9)), np.full((9, 9), np.nan)])


# Light and dark, sizes


def test_a_negative_gets_the_same_answer_and_says_that_it_was_inverted(dcn, data):
    pixels = data.render([6])[0]
    picture, negative, refused, forced = (
        predict(dcn, given, invert=invert)[0]
        for given, invert in ((pixels, None), (255 - pixels, None), (255 - pixels, False), (255 - pixels, True))
    )
    assert torch.equal(picture.probabilities, negative.probabilities)
    assert torch.equal(picture.probabilities, forced.probabilities)
    assert not torch.equal(picture.probabilities, refused.probabilities)
    assert picture.notes == ()
    assert negative.notes == ("inverted as it shows dark on light",)
    assert forced.notes == ("inverted as asked",)
    assert "unlike all training images" in str(refused)


def test_boxes_lie_in_the_picture_whatever_its_size(dcn, data):
    """An image enlarged by a whole factor is shrunk to itself nearly; its boxes are as much larger."""
    pixels = data.render([6])[0]
    large = np.kron(pixels, np.ones((3, 3), dtype=np.uint8))
    (prediction,) = predict(dcn, large)
    prepared = CLUTTERED_MNIST.preprocess(read_picture(large))
    look = dcn.model.attend(prepared.image[None])
    torch.testing.assert_close(prediction.boxes, (3 * look.boxes[0].double()).clamp(0, 300))
    assert prediction.notes == ("shrunk from 300x300 to 100x100 pixels",)

    wide = np.zeros((50, 200), dtype=np.uint8)
    wide[10:38, 90:118] = data.digits.images[6]
    (prediction,) = predict(dcn, wide)
    assert (prediction.boxes >= 0).all()
    assert (prediction.boxes <= torch.tensor([50, 200, 50, 200])).all()
    top, left, bottom, right = prediction.boxes[0].tolist()  # the most salient patch is at the digit
    assert 10 - 28 < top < bottom < 38 + 28
    assert 90 - 28 < left < right < 118 + 28


# House numbers


@pytest.fixture
def photograph(tmp_path):
    boxes = [(30.0, 20.0, 40.0, 80.0), (90.0, 25.0, 40.0, 80.0)]
    return write_folder(tmp_path / "train", [Entry("1.png", [3, 10], boxes)], size=(384, 128)) / "1.png"


@pytest.mark.parametrize("scales", [1, 3])
def test_a_photograph_is_bit_for_bit_what_the_loader_makes_of_it(photograph, scales):
    prepared = HouseNumbersTask(scales=scales).preprocess(read_picture(photograph))
    assert torch.equal(prepared.image, HouseNumberImages(decode_svhn(photograph.parent))[0][0])


@pytest.mark.parametrize("name", ["house-numbers-dcn-k8", "house-numbers-dcn-k8-scales3"])
def test_a_house_number_is_read_and_the_boxes_lie_in_the_photograph(photograph, name):
    (prediction,) = predict(name, photograph, device="cpu")
    image = HouseNumberImages(decode_svhn(photograph.parent))[0][0]
    with torch.no_grad():
        look = load_trained(name).model.attend(image[None])
    assert prediction.answer == number_text(look.logits[0].argmax(1).tolist())
    assert prediction.first_answer == number_text(look.coarse_logits[0].argmax(1).tolist())
    assert torch.equal(prediction.probabilities, look.logits[0].softmax(1))
    assert prediction.probability == pytest.approx(float(look.logits[0].softmax(1).amax(1).prod()))
    assert prediction.entropy == pytest.approx(entropy(look.logits).item())
    assert prediction.most_entropy == pytest.approx(5 * math.log(NO_DIGIT + 1))
    expected = look.boxes[0] * torch.tensor([2, 3, 2, 3])  # the frame is 64x128, the photograph 128x384
    torch.testing.assert_close(prediction.boxes, expected.double().clamp(min=0).minimum(torch.tensor([128, 384] * 2)))
    assert prediction.notes == ("resized from 384x128 to 128x64 pixels",)


def test_house_numbers_are_inverted_only_if_asked():
    photograph = np.random.RandomState(0).randint(150, 250, (64, 128, 3), dtype=np.uint8)
    task = HouseNumbersTask()
    plain, asked = (task.preprocess(read_picture(photograph), invert=invert) for invert in (None, True))
    negative = task.preprocess(read_picture(255 - photograph))
    assert plain.notes == ()
    assert asked.notes == ("inverted as asked",)
    torch.testing.assert_close(asked.image, negative.image, atol=0.02, rtol=0)
    assert not torch.allclose(asked.image, plain.image, atol=0.1)


# What a doubtful answer says


def test_no_image_of_the_data_is_unlike_the_training_images(embedded):
    data = ClutteredMNIST(embedded, seed=11)
    notes = [CLUTTERED_MNIST.preprocess(read_picture(pixels)).notes for pixels in data.render(range(0, 5000, 5))]
    assert notes == [()] * 1000


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (np.random.RandomState(0).rand(100, 100), "of its pixels are brighter than 1/10, of theirs 0.7% to 5.3%"),
        (np.zeros((100, 100)), "0.0% of its pixels"),
        (np.pad(np.full((20, 20), 0.3), 40), "its brightest pixel is 0.30"),
    ],
    ids=["noise", "nothing", "faint"],
)
def test_what_is_unlike_all_training_images_is_said_beside_the_answer(dcn, pixels, told):
    (prediction,) = predict(dcn, pixels)
    assert told in prediction.notes[-1]
    assert told in str(prediction)
    assert f"entropy {prediction.entropy:.2f} of 2.30 nats" in str(prediction)


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (np.random.RandomState(0).rand(300, 100), "it is 0.3 times as wide as high, they are 1.0 to 6.1 times"),
        (np.full((64, 128), 0.5), "its grey levels of 0 to 255 spread by 0.0"),
    ],
    ids=["high", "flat"],
)
def test_what_no_photograph_is_like_is_said_too(picture, told):
    assert told in HouseNumbersTask().preprocess(read_picture(picture)).notes[-1]


def test_a_prediction_is_a_line_with_all_that_matters():
    prediction = Prediction(
        "a.png", "7", torch.tensor([0.25, 0.75]), 0.5623, torch.zeros(0, 4), notes=("inverted as asked", "cut")
    )
    assert str(prediction) == "a.png: 7 (75.0 %, entropy 0.56 of 0.69 nats; inverted as asked; cut)"
    probabilities = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    number = Prediction("a.png", "17", probabilities, 1.2554, torch.zeros(0, 4))
    assert str(number) == "a.png: 17 (37.5 %, entropy 1.26 of 1.39 nats; by position 75.0, 50.0 %)"


# One picture, one answer


KINDS = {
    "grey.png": ("L", {}),
    "colour.png": ("RGB", {}),
    "palette.png": ("P", {}),
    "opaque.png": ("RGBA", {}),
    "levels.png": ("LA", {}),
    "one-bit.png": ("1", {}),
    "deep.png": ("I;16", {}),
    "grey.jpg": ("L", {"quality": 95}),
    "inks.jpg": ("CMYK", {"quality": 95}),
    "turned.jpg": ("L", {"quality": 95, "orientation": 6}),
    "exact.webp": ("RGB", {"lossless": True}),
    "few.gif": ("P", {}),
    "plain.bmp": ("RGB", {}),
    "float.tiff": ("F", {}),
    "plain.ppm": ("L", {}),
}
SIZES = {"as it is": (100, 100), "large": (250, 180), "small": (60, 90)}


def write(path, pixels, mode, options):
    """A picture file that shows grey levels (H, W) uint8."""
    options = dict(options)
    if orientation := options.pop("orientation", None):
        pixels = np.ascontiguousarray(np.rot90(pixels))  # what 6 turns back
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        options["exif"] = exif
    if mode == "F":
        picture = Image.fromarray(pixels.astype(np.float32) / 255)
    elif mode == "1":
        picture = Image.fromarray(pixels > 127)
    elif mode == "I;16":
        picture = Image.fromarray(pixels.astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(pixels).convert(mode)
    picture.save(path, **options)
    return path


@pytest.fixture(scope="module")
def files(data, tmp_path_factory):
    """30 picture files: each kind in both polarities, the sizes in turn."""
    folder, made = tmp_path_factory.mktemp("pictures"), []
    for number, (name, kind) in enumerate(KINDS.items()):
        for negative in (False, True):
            pixels = data.render([len(made)])[0]
            size = list(SIZES.values())[(number + negative) % 3]
            pixels = np.asarray(Image.fromarray(pixels).resize(size))
            made.append(write(folder / f"{negative}-{name}", 255 - pixels if negative else pixels, *kind))
    assert len(made) == 30
    return made


def test_the_explorer_and_predict_give_the_same_answer(files, data, dcn):
    explorer = Explorer({DCN: dcn.model}, data, {})
    for invert in (None, False, True):
        predictions = predict(dcn, files, invert=invert, device="cpu")
        for path, prediction in zip(files, predictions, strict=True):
            explorer.upload(path.name, path.read_bytes())
            view = explorer.view(Choices(DCN, source="upload", invert=invert))
            look = view.looks[8]
            torch.testing.assert_close(look.after, prediction.probabilities, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(look.before.argmax(), torch.tensor(int(prediction.first_answer)))
            assert str(look.answer) == prediction.answer
            assert view.subject.notes == prediction.notes
            assert prediction.name == str(path)


def test_the_file_format_and_the_polarity_hardly_matter(data, dcn, tmp_path):
    """Ones that lose nothing not at all."""
    image = data.render([6])[0]
    (expected,) = predict(dcn, image)
    for name, kind in KINDS.items():
        for negative in (False, True):
            path = write(tmp_path / f"{negative}-{name}", 255 - image if negative else image, *kind)
            (prediction,) = predict(dcn, path)
            assert prediction.answer == expected.answer, path
            if not (name.endswith(".jpg") or name in ("one-bit.png", "palette.png", "few.gif")):
                torch.testing.assert_close(prediction.probabilities, expected.probabilities, atol=1e-5, rtol=1e-4)


def test_bytes_are_a_file(dcn, data):
    file = BytesIO()
    Image.fromarray(data.render([6])[0]).save(file, "WEBP", lossless=True)
    (prediction,) = predict(dcn, [file.getvalue()])
    assert torch.equal(prediction.probabilities, predict(dcn, data.render([6])[0])[0].probabilities)


@pytest.mark.parametrize("name", ["dcn-k8-hints", "house-numbers-dcn-k8"])
def test_the_answer_doesnt_mind_where_it_is_asked_for(name, data):
    trained, picture = load_trained(name), data.render([6])[0]
    (expected,) = predict(trained, picture)
    with torch.inference_mode():
        for source in (trained, name):
            (prediction,) = predict(source, picture)
            assert torch.equal(prediction.probabilities, expected.probabilities)
    assert not any(parameter.is_inference() for parameter in trained.model.parameters())
