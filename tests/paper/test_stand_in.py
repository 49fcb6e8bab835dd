"""The measurement of coarse layers that stand in: what its record holds, and what the table says of it."""

import json

from dcnlib.paper import stand_in
from dcnlib.paper.stand_in import KS, StandInSettings, run_stand_in, stand_in_table

SMALL = StandInSettings(hints=1, together=1, choosing=3800, draws=1)


def test_a_record_holds_every_stage_and_the_table_its_errors(monkeypatch, tmp_path):
    monkeypatch.setattr(stand_in, "KS", (0, 2))
    record = run_stand_in(SMALL, run_dir=tmp_path)
    json.dumps(record, allow_nan=False)
    assert len(record["errors"]) == 4
    assert record["data"]["count"] == 1000
    assert record["trained"] < 100 < record["errors"]["new coarse layers"]["k0"]
    assert all({"k0", "k2"} == by_k.keys() for by_k in record["errors"].values())
    assert len(stand_in_table(record).splitlines()) == 8
    again = run_stand_in(SMALL, run_dir=tmp_path)
    assert again["errors"] == record["errors"]
    assert KS[0] == 0
