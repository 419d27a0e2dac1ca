"""The reference chunkers of a source checkout, loaded as `bench dedup --references` loads them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "references"


def load() -> ModuleType:
    """Return the module, or skip with the reason."""
    found = sys.modules.get("keepstone_test_references")
    if found is None:
        spec = importlib.util.spec_from_file_location("keepstone_test_references", FOLDER / "__init__.py")
        assert spec is not None
        assert spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = found
        spec.loader.exec_module(found)
    try:
        found.Reference(found.fastcdc_rules(4096))
    except found.NoCompiler as error:
        pytest.skip(f"the reference chunkers cannot be built: {error}")
    return found
