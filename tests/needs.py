"""What some tests need, and the reason that is given where it is missing."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

from dcnlib.data.street_signs.gtsdb import find_gtsdb


def _missing_compiler() -> str:
    """What torch.compile lacks here to make code for the CPU, or nothing."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        return f"torch.compile needs a C++ compiler, and there is no {compiler}"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "torch.compile needs Python's headers, and there is no Python.h"
    return ""


needs_compiler = pytest.mark.skipif(bool(_missing_compiler()), reason=_missing_compiler())


def _missing_gtsdb() -> str:
    try:
        find_gtsdb()
    except FileNotFoundError as error:
        return str(error)
    return ""


needs_gtsdb = pytest.mark.skipif(bool(_missing_gtsdb()), reason=_missing_gtsdb())
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
