"""Exported files are held to their models, all of them by `python -m dcnlib check --exports`; a sample here."""

import math

import pytest
import torch

from dcnlib.cli.main import main
from dcnlib.core.network import WholeLook, no_boxes
from dcnlib.inference.export import export_model
from dcnlib.inference.formats import SUFFIXES
from dcnlib.models.pretrained import PRETRAINED
from dcnlib.paper import exports
from dcnlib.paper.exports import EXPORTS, LIMIT, agrees, check_exports, exports_table
from dcnlib.utils.records import load_record

NAME, FIRST = "dcn-k8-hints", 60


def test_a_model_agrees_with_its_files_and_is_not_compared_twice():
    kept, told = [], []
    record = check_exports([NAME], first=FIRST, keep=kept.append, report=told.append)
    assert [(row["model"], row["format"]) for row in told] == [(NAME, to) for to in ("onnx", "openvino", "pt2")]
    for row in told:
        assert agrees(row), row
        assert row["count"] == FIRST
        assert 0 < row["scores"] <= LIMIT
    assert kept == [record]
    assert check_exports([NAME], before=record, keep=kept.append, report=told.append)["models"] == record["models"]
    assert len(kept) == 1
    assert NAME in exports_table(record)


def test_a_model_with_other_weights_than_before_is_compared_again():
    names, told = ["coarse", NAME], []
    record = check_exports(names, formats=["onnx"], first=5)
    before = {**record, "models": [{**row, "weights": "of another run"} for row in record["models"][:1]]}
    before["models"] += record["models"][1:]
    again = check_exports(names, formats=["onnx"], first=5, before=before, report=told.append)
    assert [row["model"] for row in told] == ["coarse"]
    assert again["models"] == record["models"]


def test_the_file_of_another_model_is_told(monkeypatch):
    """Of the same layers with other weights: it answers most images alike."""
    monkeypatch.setattr(exports, "export_model", lambda source, path, to: export_model("dcn-k8-no-hints", path, to))
    (row,) = check_exports([NAME], formats=["onnx"], first=FIRST)["models"]
    assert not agrees(row)
    assert row["elsewhere"] > FIRST / 2
    assert row["tie"] > LIMIT


class Unsteady(torch.nn.Module):
    """A model that makes much of its own rounding: 1 + 1e-6 is another number in float32."""

    def forward(self, images):
        return (images + 1e-6 - images).flatten(1) * 1e6 * torch.tensor([1.0, 0.5])

    def attend(self, images):
        return WholeLook(self(images), no_boxes(images))


@pytest.mark.parametrize(("times", "faults"), [(1, 0), (1 + 0.5 * LIMIT, 0), (1.05, 0), (1.5, 4), (math.nan, 4)])
def test_what_the_model_itself_rounds_is_no_fault(times, faults):
    row, images = exports._Row(Unsteady()), torch.ones(4, 1, 1, 2)
    look = Unsteady().attend(images)
    row.add(images, look, {"logits": look.logits * times})
    told = row.told()
    assert told["faults"] == faults
    assert told["beyond"] == (0 if times < 1 + LIMIT else 4)
    assert agrees(told) == (faults == 0)


def test_the_command_ends_with_1_if_a_file_differs(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    row = {"model": NAME, "count": 9, "scores": 1e-6, "elsewhere": 0, "beyond": 0, "faults": 0}
    for wrong, status in ((0, 0), (2, 1)):
        rows = [row | {"format": to, "other_answers": wrong} for to in ("onnx", "openvino", "pt2")]
        monkeypatch.setattr("dcnlib.cli.check.check_exports", lambda rows=rows, **_: {"models": rows})
        assert main(["check", "--exports"]) == status
    assert "**2 answered otherwise**" in capsys.readouterr().out


def test_the_record_has_every_shipped_model_on_all_its_images():
    rows = load_record(EXPORTS)["models"]
    assert [(row["model"], row["format"]) for row in rows] == [(name, to) for name in PRETRAINED for to in SUFFIXES]
    assert all(row["count"] == row["images"]["count"] for row in rows)
