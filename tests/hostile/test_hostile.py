"""Damaged and hostile files end in a result or in a documented error that names them; see `harness.py`.

Here are a few hundred damaged files, always the same ones. `make hostile` reads thousands of new ones.
"""

import json
import re
import sys
from functools import cache

import pytest
from hostile import harness
from hostile.attacks import ATTACKS
from hostile.kinds import KINDS
from hypothesis import given
from hypothesis import strategies as st

from dcnlib.models.specs import spec_from_record
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.records import read_record

CASES = 540
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are set as Unix does")


@cache
def ended_of_mutations():
    return list(harness.run(harness.mutated_cases(CASES, 0, KINDS)))


@cache
def ended_of_attacks():
    names = [name for name, attack in ATTACKS.items() if not attack.heavy]
    return {ended.case["attack"]: ended for ended in harness.run({"attack": name} for name in names)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_ends_in_a_result_or_in_an_error_that_names_it(kind):
    ended = [one for one in ended_of_mutations() if one.case["kind"] == kind]
    assert [one for one in ended if not one.fine] == []
    if kind != "cache":  # which is made anew
        assert "refused" in {one.ended for one in ended}, "these mutations change nothing"


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if not attack.heavy])
def test_an_attack_is_refused_by_name(name):
    ended = ended_of_attacks()[name]
    assert ended.fine, ended


def test_faults_are_seen():
    """A reader that crashes, waits, eats memory, runs a program or raises what it likes is told from a good one."""
    faults = {
        "crash": "crash or hang",
        "spin": "crash or hang",
        "memory": "too much memory",
        "program": "did something",
        "outside": "did something",
        "unpickle": "did something",
        "error": "undocumented error",
        "no name": "does not name the file",
    }
    cases = [{"fault": fault} for fault in faults]
    ended = list(harness.run([*cases, {"kind": "npy", "seed": 0}], seconds=3))
    assert [one.ended for one in ended[:-1]] == list(faults.values())
    assert ended[-1].fine


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("dcn"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["kind", "k", "task", "data", "scales", "hidden", "glimpses", "policy", "objective", "x"])


@given(st.dictionaries(FIELDS, ANYTHING))
def test_a_model_of_any_description_is_a_spec_or_refused(description):
    try:
        spec_from_record(description)
    except (TypeError, ValueError):
        return
    assert description["kind"] == "dcn"


@given(st.dictionaries(st.sampled_from(list(TrainingSettings.__dataclass_fields__)), ANYTHING))
def test_settings_of_any_values_are_settings_or_refused(values):
    try:
        settings = TrainingSettings(**values)
    except (TypeError, ValueError):
        return
    json.dumps(vars(settings), allow_nan=False)  # a record can hold them


@given(st.binary(max_size=200) | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_a_record_of_any_bytes_is_an_object_or_refused_by_name(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("record") / "record.json"
    path.write_bytes(content)
    if isinstance(_json_of(content), dict):
        json.dumps(read_record(path), allow_nan=False)
    else:
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read_record(path)


def _json_of(content):
    """What bytes are as strict JSON; None for nothing of the kind."""
    try:
        read = json.loads(content.decode())
        json.dumps(read, allow_nan=False)
    except ValueError:
        return None
    return read


def test_the_same_seed_makes_the_same_file():
    kind = KINDS["png"]
    assert kind.mutated(3)[0] == kind.mutated(3)[0] != kind.mutated(4)[0]
