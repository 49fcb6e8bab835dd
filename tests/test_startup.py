"""What an import brings along: nothing that is only needed later, and no torch where none is needed."""

import subprocess
import sys

import pytest

# Each takes from a tenth of a second to one second to import, and belongs to the first use of what needs it.
LATER = ("torchvision", "torch._inductor", "torch._dynamo", "sympy", "scipy", "matplotlib", "mlxtend", "h5py", "pandas")
MAIN_NAMES = "from dcnlib import DynamicCapacityNetwork, load_pretrained, load_cluttered, fit, evaluate"


def imported_by(code: str) -> set[str]:
    """The modules that a fresh process has imported after running `code`."""
    code = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_alone_imports_nothing_heavy():
    assert imported_by("import dcnlib").isdisjoint({"torch", "numpy", "PIL", "safetensors", *LATER})


@pytest.mark.parametrize("code", [MAIN_NAMES, "import dcnlib\nfor name in dcnlib.__all__: getattr(dcnlib, name)"])
def test_the_names_of_the_library_bring_no_more_than_they_need(code):
    imported = imported_by(code)
    assert "torch" in imported
    assert imported.isdisjoint(LATER)


@pytest.mark.parametrize(
    "module", ["paper.tables", "paper.benchmark_tables", "utils.records", "utils.files", "utils.statistics"]
)
def test_what_commands_on_records_import_needs_no_torch(module):
    assert imported_by(f"import dcnlib.{module}").isdisjoint({"torch", *LATER})


def test_the_tables_are_made_without_torch():
    code = """
from dcnlib import load_record
from dcnlib.paper.tables import controls_table, house_numbers_table, number_targets_table, results_table, summary_table
from dcnlib.paper.benchmark_tables import benchmark_tables, number_benchmark_table, rivals_benchmark_table
summary_table(), results_table(), house_numbers_table(), number_targets_table()
controls_table(load_record("controls"), "dcn-k8-hints")
benchmark_tables(load_record("benchmark")), number_benchmark_table(load_record("house-numbers-benchmark"))
rivals_benchmark_table(load_record("rivals-benchmark"))
"""
    assert imported_by(code).isdisjoint({"torch", *LATER} - {"scipy"})  # which the intervals are made by
