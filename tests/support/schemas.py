"""Kubernetes' own OpenAPI schemas, of several versions, to hold manifests against."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

# Apart from what gra is installed with: see the dependency group in pyproject.toml.
_FOLDER = Path(sys.prefix, "schemas")


def validate(manifest: Mapping[str, Any], version: str) -> None:
    """Fail unless the manifest is right, unknown fields included, for that version (``1.34``)."""
    _library().validate(manifest, version, strict=True)


@functools.cache
def _library() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(_FOLDER)
        return importlib.import_module("kubernetes_validate")
