"""int8 beside float32: the same images, errors told apart by image, time from turns."""

import json

from dcnlib.cli.main import main
from dcnlib.paper.benchmark_tables import int8_table


def test_int8_is_compared_image_by_image(tmp_path, capsys):
    assert main(["int8", "--quick", "--models", "coarse", "--run-dir", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "record.json").read_text())
    assert [(row["model"], row["runtime"]) for row in record["models"]] == [
        ("coarse", "onnxruntime"),
        ("coarse", "openvino"),
    ]
    for row in record["models"]:
        assert row["count"] == 100
        wrong = row["errors"]
        assert wrong["int8"] - wrong["float32"] == row["only_int8_wrong"] - row["only_float32_wrong"]
        assert wrong["float32"] < 10
        assert row["milliseconds"].keys() == {"float32", "int8"}
        assert all(time > 0 for times in row["milliseconds"].values() for time in times.values())
    assert int8_table(record) in capsys.readouterr().out
