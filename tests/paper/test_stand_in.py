"""The measurement of coarse layers that stand in: what its record holds, and what the table says of it."""

import json

from dcnlib.data.digits import load_digits
from dcnlib.paper import stand_in
from dcnlib.paper.stand_in import StandInSettings, run_stand_in, stand_in_table

SMALL = StandInSettings(hints=1, together=1, choosing=20, draws=1)


def test_a_record_holds_every_stage_and_the_table_its_errors(monkeypatch, tmp_path):
    monkeypatch.setattr(stand_in, "KS", (0, 1))
    monkeypatch.setattr(stand_in, "load_digits", lambda split, source: load_digits(split, source=source).subset(90))
    record = run_stand_in(SMALL, run_dir=tmp_path)
    json.dumps(record, allow_nan=False)
    assert record["data"]["count"] == 90
    assert record["trained"] < 10 < record["errors"]["new coarse layers"]["k0"]
    assert [{*by_k} for by_k in record["errors"].values()] == [{"k0", "k1"}] * 4
    assert len(record["curves"]["train_hint"]) == 1
    assert len(stand_in_table(record).splitlines()) == 8
    assert {path.name for path in tmp_path.iterdir()} == {"hints", "together", "alone"}
