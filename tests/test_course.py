"""What helps a student: the blanks say what is wrong, and the solutions run."""

import importlib.util
import inspect
import re

import nbformat
import pytest
import torch

from dcnlib.core.patches import replace_cells
from dcnlib.utils.files import project_root

NOTEBOOKS = project_root() / "notebooks"
SOLUTIONS = NOTEBOOKS / "solutions"
BLANKS = ("entropy_gradient", "scatter", "receptive_field", "strip", "mcnemar", "threshold", "threshold_of_rounds")
FEW = {
    "01": 300,
    "02": 23,
    "03": 60,
    "04": 60,
    "05": 64,
    "06": 60,
    "07": 3,
    "08": 100,
    "09": 50,
    "10": 529,
    "11": 100,
    "12": 300,
    "13": 400,
}


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


blanks, answers = load(NOTEBOOKS / "blanks.py"), load(SOLUTIONS / "blanks.py")


@pytest.mark.parametrize("blank", BLANKS)
def test_a_blank_takes_its_answer_and_says_not_yet_to_an_empty_one(blank):
    check = getattr(blanks, blank)
    assert check(getattr(answers, blank)) == blanks.RIGHT
    assert check(lambda *_: None) == check(lambda *_: ...) == blanks.NOT_YET
    assert check(lambda *_: 1 / 0) == "It fails: ZeroDivisionError: division by zero"
    assert check(lambda *_: "word").startswith(("Not right yet", "It fails"))


def surprise_alone(z):
    return -z.softmax(1) * z.log_softmax(1)


def channels_last(c, cells, vectors):
    flat = c.flatten(1)
    for channel in range(c.shape[1]):
        flat = flat.scatter(1, cells * c.shape[1] + channel, vectors[:, :, channel])
    return flat.view_as(c)


def in_place(c, cells, vectors):
    for image, its_cells, its_vectors in zip(c, cells, vectors, strict=True):
        for cell, vector in zip(its_cells.tolist(), its_vectors, strict=True):
            image[:, cell // c.shape[3], cell % c.shape[3]] = vector
    return c


def stride_first(layers):
    stride, offset, size = 1, 0, 1
    for kernel, step, padding in layers:
        stride *= step
        size, offset = size + (kernel - 1) * stride, offset - padding * stride
    return stride, offset, size


def padding_to_the_right(layers):
    stride, offset, size = answers.receptive_field(layers)
    return stride, -offset, size


def whole_looks(H, first, look, budget):
    return H.sort(descending=True).values[int(len(H) * budget / look) - 1]


def never_sure_is_sure_at_once(H, prices, budget):
    for below in (0.0, *H.flatten().sort().values.tolist()):
        if prices[(below > H).int().argmax(1)].mean() <= budget:
            return below


@pytest.mark.parametrize(
    ("blank", "attempt", "hint"),
    [
        ("entropy_gradient", lambda z: -answers.entropy_gradient(z), "sign"),
        ("entropy_gradient", surprise_alone, "H is missing"),
        ("entropy_gradient", lambda z: -(1 + z.log_softmax(1)), "at the probabilities"),
        ("entropy_gradient", lambda z: answers.entropy_gradient(z).sum(1), r"shape \(4, 10\), got \(4,\)"),
        ("scatter", channels_last, "side by side in memory"),
        ("scatter", in_place, "is changed"),
        ("scatter", lambda c, cells, v: c + replace_cells(0 * c, cells, v), "were added"),
        ("receptive_field", stride_first, "before"),
        ("receptive_field", padding_to_the_right, "negative"),
        ("strip", lambda first, rows, field, height: (first * 8, (first + rows - 1) * 8 + 34), "offset"),
        ("strip", lambda first, rows, field, height: (first * 8 - 2, (first + rows) * 8 - 2), "whole field"),
        ("strip", lambda first, rows, field, height: (first * 8 - 2, (first + rows) * 8 + 32), "one row of cells"),
        ("strip", lambda first, rows, field, height: (first * 8 - 2, (first + rows) * 8 + 24), "beyond the image"),
        ("mcnemar", lambda f, b: answers.mcnemar(f, b) / 2, "one side"),
        ("mcnemar", lambda f, b: 0.5, "is right"),
        ("threshold", whole_looks, "rest"),
        ("threshold", lambda H, *_: H.median() / 2, "exceeds"),
        ("threshold", lambda H, *_: 0.99, "money left"),
        ("threshold_of_rounds", never_sure_is_sure_at_once, "argmax says 0"),
        ("threshold_of_rounds", lambda H, *_: 0.001, "too much"),
        ("threshold_of_rounds", lambda H, *_: H.max(), "money left"),
    ],
)
def test_a_hint_is_about_the_mistake(blank, attempt, hint):
    said = getattr(blanks, blank)(attempt)
    assert said.startswith("Not right yet: ")
    assert re.search(hint, said), said


def test_what_a_blank_is_given_is_not_shared_between_tries():
    kept = torch.randn(3, 10)
    assert blanks.entropy_gradient(lambda z: z.zero_()) != blanks.RIGHT
    assert blanks.entropy_gradient(answers.entropy_gradient) == blanks.RIGHT
    assert torch.isfinite(kept).all()


FILES = sorted(SOLUTIONS.glob("[0-9]*.py"))


def exercises_of(path):
    """The numbers of the exercises of a notebook."""
    cells = nbformat.read(path, as_version=4).cells
    (listed,) = (cell.source for cell in cells if re.search(r"^## Exercises", cell.source, re.MULTILINE))
    return {int(number) for number in re.findall(r"^(\d+)\. ", listed.split("## References")[0], re.MULTILINE)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_two_exercises_of_a_notebook_are_solved(path):
    solved = {name: function for name, function in vars(load(path)).items() if name.startswith("exercise_")}
    assert len(solved) >= 2
    assert {int(name.removeprefix("exercise_")) for name in solved} <= exercises_of(NOTEBOOKS / f"{path.stem}.ipynb")
    for name, solve in solved.items():
        assert inspect.getdoc(solve), name
        assert solve(count=FEW[path.stem[:2]]) if "count" in inspect.signature(solve).parameters else solve()
    text = (NOTEBOOKS / f"{path.stem}.ipynb").read_text()
    assert f"solutions/{path.name}" in text


def test_every_page_has_solutions():
    assert [path.stem for path in FILES] == [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
