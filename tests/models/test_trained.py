"""One's own weights: loaded from whatever names them, and never measured on their own training images in silence."""

import json
import shutil
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset

from dcnlib import TrainingSettings, fit, load_model, load_pretrained, load_record
from dcnlib.models.own_pictures import OwnPicturesTask
from dcnlib.models.pretrained import PRETRAINED, Trained, load_trained
from dcnlib.models.specs import SPECS, CoarseSpec, DCNSpec, FineSpec, RAMSpec, Spec, spec_from_record
from dcnlib.models.start import begin_with
from dcnlib.models.tasks import CLUTTERED_MNIST, TASKS, ClutteredMNISTTask, HouseNumbersTask
from dcnlib.training.run import Run
from dcnlib.utils.weights import save_weights, weights_of

SETTINGS = TrainingSettings(epochs=1, batch_size=64, device="cpu")


def train(folder, spec: Spec):
    data = spec.task.smoke("train"), spec.task.smoke("validation")
    return fit(spec.build(), *data, SETTINGS, name="mine", description=spec.describe(), run_dir=folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mine"
    train(folder, CoarseSpec())
    return folder


def same_weights(one, other):
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == also and torch.equal(value, too) for (name, value), (also, too) in pairs)


def test_a_name_a_folder_and_a_file_are_sources(run, tmp_path):
    trained = load_trained(run)
    assert (trained.name, trained.spec, trained.task) == ("mine", CoarseSpec(), CLUTTERED_MNIST)
    assert trained.record == Run(run).read_record()
    assert not any(part.training for part in trained.model.modules())
    for source in (str(run), run / "weights.safetensors", trained):
        assert same_weights(load_model(source), trained.model)
    shutil.copy(run / "weights.safetensors", tmp_path / "best.safetensors")
    shutil.copy(run / "record.json", tmp_path / "best.json")
    assert same_weights(load_model(tmp_path / "best.safetensors"), trained.model)
    assert load_trained(trained) is trained
    shipped = load_trained("dcn-k8-hints")
    assert shipped.record == load_record("dcn-k8-hints")
    assert same_weights(shipped.model, load_pretrained("dcn-k8-hints"))


def test_a_home_is_found(run, monkeypatch):
    monkeypatch.setenv("HOME", str(run.parent))
    assert load_trained("~/mine").name == "mine"


def test_what_is_no_source_is_refused(run, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"dcn-k9 is neither a shipped model \(coarse, .*nor a run's"):
        load_trained("dcn-k9")
    with pytest.raises(FileNotFoundError, match="holds no finished run"):
        load_trained(tmp_path)
    shutil.copy(run / "weights.safetensors", tmp_path / "best.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no record beside it .*best\.json or .*record\.json"):
        load_trained(tmp_path / "best.safetensors")
    for text, message in {
        "{": "is no record",
        "[" * 100_000: "is no record",
        "[1]": "holds no JSON object",
        '{"model": {"class": "MyNetwork"}}': "names no model of this library",
        '{"model": {"kind": "dnc"}}': "must be one of coarse, .*'dnc'",
        '{"model": {"kind": "coarse", "k": 3}}': "has no k",
        '{"model": {"kind": "dcn", "k": "3"}}': "k, the number of patches, must be an int",
        '{"model": {"kind": "ram", "data": "house-numbers", "scales": 1}}': "models of house-numbers are coarse",
        json.dumps({"model": DCNSpec().describe()}): "another model",
    }.items():
        (tmp_path / "best.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            load_trained(tmp_path / "best.safetensors")


def test_a_model_loaded_in_inference_mode_trains_on():
    with torch.inference_mode():
        model = load_pretrained("house-numbers-dcn-k8")
        logits = model(torch.rand(2, 1, 64, 128))
    loss, _ = model.train().loss(torch.rand(2, 1, 64, 128), torch.full((2, 5), 10))
    loss.backward()
    assert logits.shape == (2, 5, 11)
    assert all(not parameter.is_inference() for parameter in model.parameters())


@pytest.mark.parametrize("spec", [CoarseSpec(), RAMSpec(), PRETRAINED["house-numbers-dcn-k8"]])
def test_a_model_built_in_inference_mode_is_like_any_other(spec):
    shape = (2, *spec.task.image_shape)
    with torch.inference_mode():
        model = spec.build()
        model.eval()(torch.rand(shape))
    model.train().loss(torch.rand(shape), torch.zeros(2, *model(torch.rand(shape)).shape[1:-1], dtype=torch.int64))[
        0
    ].backward()


def test_numbers_of_numpy_are_options_too():
    spec = DCNSpec(k=np.int64(2), hint_weight=np.float32(0.5))
    assert json.loads(json.dumps(spec.describe())) == DCNSpec(k=2, hint_weight=0.5).describe()
    model, images = spec.build().eval(), torch.rand(2, 1, 100, 100)
    torch.testing.assert_close(model(images, k=np.int32(5)), model(images, k=5), rtol=0, atol=0)
    with pytest.raises(TypeError, match="must be an int"):
        model(images, k=np.float64(2))


def test_by_default_a_model_is_measured_on_validation_images_of_its_own_source(run):
    data = load_trained(run).load_data()
    assert data.describe().items() >= {"source": "embedded", "split": "validation", "count": 1000}.items()
    shipped = load_trained("coarse").load_data()
    assert shipped.describe().items() >= {"source": "mnist", "split": "validation", "count": 5000}.items()


@pytest.mark.parametrize("where", [("mnist", "validation"), ("embedded", "all"), ("embedded", "train")])
def test_a_models_own_training_digits_are_measured_on_only_if_asked_for(run, where):
    source, split = where
    trained = load_trained(run)
    if split == "validation":
        with pytest.raises(ValueError, match="name the split to measure on them all the same"):
            trained.load_data(source=source)
    with pytest.warns(UserWarning, match="was trained on images of source embedded, split train, which are among"):
        data = trained.load_data(split, source=source)
    assert len(data) == {"validation": 5000, "all": 5000, "train": 4000}[split]


class Pairs(Dataset):
    """A data set of one's own, of which a record says little."""

    def __init__(self, data):
        self._data = data

    def __len__(self):
        return len(self._data)

    def __getitem__(self, index):
        return self._data[index]


def test_where_a_record_doesnt_say_whose_images_it_was_a_warning_does(tmp_path):
    task = CLUTTERED_MNIST
    sets = {
        "mine": Pairs(task.smoke("train")),
        "both": ConcatDataset([Pairs(task.smoke("train")), task.smoke("train")]),
        "validation too": ConcatDataset([task.smoke("train"), Subset(task.smoke("validation"), range(10))]),
    }
    for name, data in sets.items():
        description = CoarseSpec().describe()
        model = CoarseSpec().build()
        fit(model, data, task.smoke("validation"), SETTINGS, description=description, run_dir=tmp_path / name)
    unknown = r"was trained on a Pairs, and its record doesn't say whether images of source {}, split validation"
    with pytest.warns(UserWarning, match=unknown.format("mnist")):
        load_trained(tmp_path / "mine").load_data()
    with pytest.warns(UserWarning, match=unknown.format("embedded")):
        assert load_trained(tmp_path / "both").load_data().describe()["source"] == "embedded"
    with pytest.raises(ValueError, match="split validation, which are among those of source embedded"):
        load_trained(tmp_path / "validation too").load_data()


def test_which_digits_splits_share():
    """Told by content, for every pair of splits of the embedded digits."""
    splits = {
        split: CLUTTERED_MNIST.load(split, source="embedded").digits.images for split in ("all", "train", "validation")
    }
    for one, images in splits.items():
        for other, others in splits.items():
            shared = {image.tobytes() for image in images} & {image.tobytes() for image in others}
            told = CLUTTERED_MNIST.shares_images({"source": "embedded", "split": one}, other, "embedded")
            assert told == bool(shared)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for split in ("validation", "test"):
            assert not CLUTTERED_MNIST.shares_images({"source": "mnist", "split": "train"}, split, "mnist")


@pytest.mark.parametrize(
    "spec", [*PRETRAINED.values(), *(spec() for spec in SPECS.values()), RAMSpec(sigma=0.3, rollouts=2)]
)
def test_a_record_says_which_model_it_is(spec):
    described = json.loads(json.dumps(spec.describe()))
    assert spec_from_record(described) == spec
    assert described["kind"] in spec.task.kinds


def test_tasks_answer_in_words():
    assert ClutteredMNISTTask().answer(torch.eye(10)[7]) == "7"
    digits = torch.zeros(5, 11)
    for position, digit in enumerate((1, 0, 3, 10, 10)):
        digits[position, digit] = 1
    assert HouseNumbersTask().answer(digits) == "103"


@pytest.mark.parametrize("task", [ClutteredMNISTTask(), *(HouseNumbersTask(scales=scales) for scales in (1, 2, 3))])
def test_a_tasks_images_fit_its_networks(task):
    image, label = task.smoke("validation")[0]
    assert image.shape == task.image_shape
    assert task == TASKS[task.name](**asdict(task))
    for kind in task.kinds:
        logits = SPECS[kind](task=task).build().eval()(image[None])
        assert logits.shape[1:-1] == torch.as_tensor(label).shape
        assert isinstance(task.answer(logits[0]), str)


@pytest.mark.parametrize(
    "task",
    [HouseNumbersTask(), HouseNumbersTask(scales=2), OwnPicturesTask(("a", "b"), 64, 64)],
    ids=["house numbers", "two scales", "own pictures"],
)
def test_a_dcn_begins_with_the_parts_of_trained_models(task):
    trained = {
        kind: Trained(kind, seeded(spec(task=task), seed).eval(), spec(task=task), {})
        for seed, (kind, spec) in enumerate({"fine": FineSpec, "coarse": CoarseSpec}.items())
    }
    dcn = DCNSpec(task=task).build().eval()
    network = getattr(dcn, "network", dcn)
    for each in trained.values():
        begin_with(dcn, each)
    images = torch.rand(2, *task.image_shape)
    packed = dcn.pyramid.pack(images) if hasattr(dcn, "pyramid") else images
    coarse, fine = (getattr(trained[kind].model, "network", trained[kind].model) for kind in ("coarse", "fine"))
    torch.testing.assert_close(network.coarse(packed), coarse.layers(packed))
    look = network.attend(packed, k=1)
    vectors = fine.layers(packed).flatten(2)  # of all cells
    torch.testing.assert_close(look.fine_vectors[:, 0], vectors[torch.arange(2), :, look.cells[:, 0]])
    assert weights_of(network.top).keys() == weights_of(fine.top).keys()
    assert all(torch.equal(a, b) for a, b in zip(network.top.parameters(), fine.top.parameters(), strict=True))


def test_a_compiled_model_begins_with_what_the_model_itself_does():
    trained, model = load_trained("fine"), DCNSpec().build()
    begin_with(torch.compile(model, backend="eager"), trained)
    assert all(torch.equal(a, b) for a, b in zip(model.top.parameters(), trained.model.top.parameters(), strict=True))


def seeded(spec: Spec, seed: int):
    torch.manual_seed(seed)
    return spec.build()


def test_a_path_is_a_place_even_if_it_is_called_as_a_shipped_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="neither a shipped model"):
        load_trained(Path("coarse"))
    assert load_trained("coarse").name == "coarse"


def test_a_calibrated_run_brings_its_most_patches_too(tmp_path):
    record = load_record("dcn-every-k")
    record["until_sure"] |= {"entropy_below": 0.5, "max_k": 2}
    run = Run(tmp_path)
    save_weights(run.weights_path, load_pretrained("dcn-every-k"))
    run.save_record(record)
    dcn = load_model(tmp_path)
    assert (dcn.entropy_below, dcn.max_k) == (0.5, 2)
    record["until_sure"]["max_k"] = "many"
    run.save_record(record)
    with pytest.raises(ValueError, match="holds no threshold"):
        load_model(tmp_path)
