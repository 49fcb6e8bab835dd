"""Batches: of any data set, in the order that a seed decides, and looked at before they are used."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from daemons import in_a_daemon, needs_fork
from PIL import Image
from torch import nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

from dcnlib import ClutteredMNIST, CoarseLayers, SingleCapacityNetwork, TopLayers, TrainingSettings, evaluate, fit
from dcnlib.data.cluttered_mnist import ClutterRules
from dcnlib.training.loading import at_epoch, evaluation_batches, most_at_once, training_batches
from dcnlib.utils.weights import weights_of

ONE_EPOCH = TrainingSettings(epochs=1, batch_size=16, device="cpu")
RULES = ClutterRules(size=40)


class ByOne(Dataset):
    """A data set that takes ints and nothing else, as most do."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        assert type(index) is int
        return self.images[index], int(self.labels[index])


def split(data):
    return random_split(data, [len(data)], generator=torch.Generator().manual_seed(0))[0]


# Each holds the images and labels of a TensorDataset, in its order.
FORMS = {
    "tensors": lambda data: data,
    "pairs": list,
    "pairs with ints": lambda data: [(image, int(label)) for image, label in data],
    "by one": lambda data: ByOne(*data.tensors),
    "part": lambda data: Subset(data, range(len(data))),
    "part by array": lambda data: Subset(data, np.arange(len(data))),
    "part of a part": lambda data: Subset(Subset(data, range(len(data))), list(range(len(data)))),
    "part by one": lambda data: Subset(ByOne(*data.tensors), range(len(data))),
    "joined": lambda data: ConcatDataset([Subset(data, range(10)), Subset(data, range(10, len(data)))]),
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SingleCapacityNetwork(layers=CoarseLayers(), top=TopLayers())


@pytest.mark.parametrize(("form", "workers"), [*((form, 0) for form in FORMS), ("tensors", 2), ("part by one", 2)])
def test_every_form_of_a_data_set_gives_the_same_batches(quadrants, form, workers):
    data = quadrants[0]
    order = np.random.RandomState([3, 5, 1]).permutation(64)[:60].reshape(6, 10)[2:]
    rng = torch.get_rng_state()
    made = training_batches(FORMS[form](data), 10, seed=3, epoch=5, start=2, workers=workers)
    for indices, (images, labels) in zip(order, made, strict=True):
        assert torch.equal(images, data.tensors[0][indices])
        assert torch.equal(labels, data.tensors[1][indices])
    whole = list(evaluation_batches(FORMS[form](data), 30, workers=workers))
    assert [len(images) for images, _ in whole] == [30, 30, 4]
    for part, tensor in enumerate(data.tensors):
        assert torch.equal(torch.cat([batch[part] for batch in whole]), tensor)
    assert torch.equal(torch.get_rng_state(), rng)  # which the model draws from


@needs_fork
def test_a_process_that_may_start_none_makes_its_batches_itself(quadrants):
    def labels_of(workers):
        training = training_batches(quadrants[0], 10, seed=3, epoch=5, workers=workers)
        return [
            labels.tolist()
            for batches in (training, evaluation_batches(quadrants[1], 10, workers=workers))
            for _, labels in batches
        ]

    assert in_a_daemon(lambda: labels_of(2)) == labels_of(0)


@pytest.mark.parametrize("form", [*FORMS, "random split"])
def test_every_form_of_a_data_set_trains_and_evaluates_alike(make_dcn, quadrants, form):
    def train(train_data, validation_data):
        model = make_dcn(image_shape=None).float()
        record = fit(model, train_data, validation_data, ONE_EPOCH)
        return record["curves"], weights_of(model)

    if form == "random split":
        parts = [split(data) for data in quadrants]
        plain = [TensorDataset(*(tensor[part.indices] for tensor in part.dataset.tensors)) for part in parts]
    else:
        parts, plain = [FORMS[form](data) for data in quadrants], quadrants
    (curves, weights), (expected_curves, expected_weights) = train(*parts), train(*plain)
    assert curves == expected_curves
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected_weights.items())


def test_folders_of_pictures_train(tmp_path, model):
    torchvision = pytest.importorskip("torchvision")
    random = np.random.RandomState(0)
    for number in range(8):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.randint(0, 256, (40, 40), np.uint8)).save(path)
    look = torchvision.transforms.Compose([torchvision.transforms.Grayscale(), torchvision.transforms.ToTensor()])
    data = torchvision.datasets.ImageFolder(str(tmp_path), transform=look)
    record = fit(model, data, data, TrainingSettings(epochs=1, batch_size=4, device="cpu"))
    transform = "Compose( Grayscale(num_output_channels=1) ToTensor() )"
    assert record["data"]["train"] == {"name": "ImageFolder", "count": 8, "transform": transform}
    assert evaluate(model, data).rate.count == 8
    with pytest.raises(TypeError, match=r"pair of an image tensor.*PIL"):
        evaluate(model, torchvision.datasets.ImageFolder(str(tmp_path)))


def test_a_part_of_a_fresh_set_is_fresh(digits):
    data = ClutteredMNIST(digits, rules=RULES, fresh=True)
    part, other = Subset(data, [5, 3, 1]), data.at_epoch(4)
    fresh = at_epoch(Subset(part, [2, 0]), 4)
    assert torch.equal(fresh[0][0], other[1][0])
    assert torch.equal(fresh[1][0], other[5][0])
    assert not torch.equal(fresh[0][0], data[1][0])
    joined = at_epoch(ConcatDataset([part, data]), 4)
    assert torch.equal(joined[3][0], other[0][0])
    images, labels = next(iter(at_epoch(DataLoader(part, batch_size=3), 4)))
    assert torch.equal(images, other[[5, 3, 1]][0])
    assert torch.equal(labels, other[[5, 3, 1]][1])
    assert part.dataset is data  # the caller's own stay as they were


def test_parts_of_large_images_are_evaluated_in_batches_as_small_as_the_whole(quadrants, make_dcn):
    class Large(TensorDataset):
        most_at_once = 11

    class Larger(TensorDataset):
        most_at_once = 7

    tensors, seen = quadrants[1].tensors, []
    large, larger, usual = Large(*tensors), Larger(*tensors), TensorDataset(*tensors)
    part = Subset(Subset(large, range(30)), range(25))
    assert most_at_once(part) == 11
    assert most_at_once(ConcatDataset([usual, part, usual])) == 11
    assert most_at_once(Subset(ConcatDataset([part, larger, usual]), [0, 1])) == 7
    assert most_at_once(ConcatDataset([usual, Subset(usual, range(3))])) == 250
    dcn = make_dcn().float()
    dcn.coarse.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    evaluate(dcn, part)
    assert seen == [11, 11, 3]


def test_a_set_that_is_not_fresh_is_the_same_in_every_epoch(digits):
    data = Subset(ClutteredMNIST(digits, rules=RULES), [1, 2])
    assert at_epoch(data, 3) is data


def test_a_loaders_own_batches_are_trained_on(make_dcn, quadrants):
    """In its own order, with its own batch size, which stands in the record; the last one may be smaller."""
    train, validation = quadrants
    seen = []

    def collate(items):
        seen.append([int(label) for _, label in items])
        return torch.stack([image for image, _ in items]), torch.stack([label for _, label in items])

    loader = DataLoader(train, batch_size=24, collate_fn=collate)
    model = make_dcn(image_shape=None).float()
    record = fit(model, loader, DataLoader(validation, batch_size=5), ONE_EPOCH)
    assert [len(labels) for labels in seen] == [24, 24, 16]
    assert sum(seen, []) == train.tensors[1].tolist()  # noqa: RUF017
    assert record["settings"]["batch_size"] == 24
    assert evaluate(model, DataLoader(validation, batch_size=5)).rate == evaluate(model, validation).rate


class Interrupted(Exception):
    pass


LOADERS = {
    "shuffled": lambda data: DataLoader(data, 16, shuffle=True),
    "with a generator of its own": lambda data: DataLoader(
        data, 16, shuffle=True, generator=torch.Generator().manual_seed(3)
    ),
    "with that of a sampler": lambda data: DataLoader(
        data, 16, sampler=WeightedRandomSampler([1.0] * 64, 64, generator=torch.Generator().manual_seed(3))
    ),
}


@pytest.mark.parametrize("stop_at", [7, 9])
@pytest.mark.parametrize("kind", LOADERS)
def test_a_shuffling_loader_goes_on_where_it_was(make_dcn, quadrants, tmp_path, kind, stop_at):
    """Stopped in the second epoch's third step, or the third one's first; batches are shuffled and seen as if nothing
    had happened."""

    def train(run_dir: Path, stop_at: int = 0):
        torch.manual_seed(1)
        model, calls = make_dcn(image_shape=None, policy="random").float(), []
        loss = model.loss

        def counted(images, labels):
            calls.append(None)
            if len(calls) == stop_at:
                raise Interrupted
            return loss(images, labels)

        model.loss = counted
        loader = LOADERS[kind](quadrants[0])
        settings = TrainingSettings(epochs=3, device="cpu")
        record = fit(model, loader, quadrants[1], settings, run_dir=run_dir, checkpoint_seconds=0)
        return record["curves"], weights_of(model)

    with pytest.raises(Interrupted):
        train(tmp_path / "resumed", stop_at=stop_at)
    (curves, weights), (expected_curves, expected_weights) = train(tmp_path / "resumed"), train(tmp_path / "whole")
    assert curves == expected_curves
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected_weights.items())


@pytest.mark.parametrize("index", [3, np.int64(3), torch.tensor(3), np.array(3), torch.tensor(3, dtype=torch.uint8)])
def test_a_number_without_dimensions_is_an_index(digits, index):
    data = ClutteredMNIST(digits, rules=RULES)
    image, label = data[index]
    assert torch.equal(image, data[[3]][0][0])
    assert label == data[[3]][1][0]
    with pytest.raises(TypeError):
        data[torch.tensor(3.0)]


# What isn't images and labels


def changed(data, part, index, value):
    tensors = [tensor.clone() for tensor in data.tensors]
    tensors[part][index] = value
    return TensorDataset(*tensors)


@pytest.mark.parametrize("label", [4, -1, 250])
def test_labels_outside_the_classes_are_refused_at_their_first_batch(make_dcn, quadrants, label):
    train, validation = quadrants
    steps = []
    model = make_dcn(image_shape=None).float()
    loss = model.loss
    model.loss = lambda images, labels: steps.append(None) or loss(images, labels)
    place = np.random.RandomState([0, 0, 1]).permutation(64)[40]  # in the third batch of 16
    message = rf"labels must be in 0\.\.3, as the model has 4 classes, got .*{label}"
    with pytest.raises(ValueError, match=message):
        fit(model, changed(train, 1, place, label), validation, ONE_EPOCH)
    assert len(steps) == 2
    with pytest.raises(ValueError, match=message):
        evaluate(model, changed(validation, 1, 20, label))


def test_labels_of_sequences_are_held_to_their_classes():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.scores = nn.Parameter(torch.zeros(2, 3))

        def forward(self, images):
            return self.scores.expand(len(images), 2, 3)

    labels = torch.tensor([[0, 2], [1, 3]])
    with pytest.raises(ValueError, match=r"0\.\.2.*got 0\.\.3"):
        evaluate(Reader(), TensorDataset(torch.rand(2, 1, 4, 4), labels))


@pytest.mark.parametrize("value", [float("nan"), 1.5, -0.5])
def test_an_image_that_is_none_is_refused_in_any_batch(make_dcn, quadrants, value):
    train, validation = quadrants
    place = np.random.RandomState([0, 0, 1]).permutation(64)[60]
    with pytest.raises(ValueError, match=r"image values must be in \[0, 1\]"):
        fit(make_dcn(image_shape=None).float(), changed(train, 0, (place, 0, 3, 3), value), validation, ONE_EPOCH)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([(torch.rand(1, 11, 15),)] * 16, TypeError, "two tensors, images and labels, got list of Tensor$"),
        ([{"image": torch.rand(1, 11, 15), "label": 1}] * 16, TypeError, "two tensors, images and labels, got dict"),
        ([(torch.rand(1, 11, 15 + n), 1) for n in range(16)], TypeError, "all of one shape"),
        ([(torch.zeros(1, 11, 15, dtype=torch.uint8), 1)] * 16, TypeError, "uint8; use images.float"),
        ([(torch.rand(1, 11, 15), 1.0)] * 16, TypeError, "labels must be int64, got torch.float64"),
        ([(torch.rand(1, 11, 15), "1")] * 16, TypeError, "two tensors.*Tensor, list"),
    ],
    ids=["no label", "dictionary", "sizes", "bytes", "float labels", "texts"],
)
def test_what_is_no_pair_of_image_and_label_is_refused(make_dcn, quadrants, data, error, message):
    for train, validation in ((data, quadrants[1]), (quadrants[0], data)):
        with pytest.raises(error, match=message):
            fit(make_dcn(image_shape=None).float(), train, validation, ONE_EPOCH)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


@pytest.mark.parametrize("data", [Stream(), DataLoader(Stream()), iter([]), None])
def test_what_has_no_length_is_no_data_set(make_dcn, quadrants, data):
    model = make_dcn(image_shape=None).float()
    for train, validation in ((data, quadrants[1]), (quadrants[0], data)):
        with pytest.raises(TypeError, match="must be a map-style data set"):
            fit(model, train, validation, ONE_EPOCH)
    with pytest.raises(TypeError, match="must be a map-style data set"):
        evaluate(model, data)


@pytest.mark.parametrize("index", [3.0, "3", slice(0, 3), np.array([True, False])])
def test_what_is_no_index_is_named(digits, index):
    with pytest.raises(TypeError, match="indices must be integers, got "):
        ClutteredMNIST(digits, rules=RULES)[index]


def test_a_batch_of_one_trains_where_nothing_needs_more(make_dcn, quadrants):
    """With batch norms in eval mode, or none; it is refused where a norm in training mode is there."""
    few = Subset(quadrants[0], range(4))
    settings = TrainingSettings(epochs=1, batch_size=1, device="cpu")
    frozen = make_dcn(image_shape=None).float().train()
    for part in frozen.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    plain = SingleCapacityNetwork(layers=nn.Conv2d(1, 4, 3), top=nn.Sequential(nn.Flatten(), nn.Linear(468, 4)))
    for model in (frozen, plain):
        before = copy.deepcopy(weights_of(model))
        fit(model, few, few, settings)
        assert not all(torch.equal(before[name], tensor) for name, tensor in weights_of(model).items())
    with pytest.raises(ValueError, match="a batch of one image"):
        fit(make_dcn(image_shape=None).float(), few, few, settings)
