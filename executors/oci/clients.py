"""The SDK's client classes without the models of their services.

Answers stay JSON and bodies are JSON, so no model is ever used; but a client's package makes
the classes of all that its service knows (730 of them for compute: 20 MiB, 0.4 CPU seconds),
and the clients beside it. So a client's module is loaded by itself, below a package of ours
in which `models` is empty. The SDK's own packages stay untouched for whoever else uses them.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import structlog

log = structlog.get_logger("uici")

# Below it stand the modules that are loaded here; no such package is on the disk.
_HERE = f"{__name__}.of"
_lock = threading.Lock()  # a module that is half loaded is no module


def client_class(package: str, module: str, name: str) -> Any:
    """A client class of the SDK.

    Where the SDK is laid out otherwise than expected, it is the one that the SDK itself
    would make, models and all.

    Args:
        package: the service's: `oci.core`.
        module: the client's, in that package.
        name: the class.

    Raises:
        ImportError: the SDK has no such service.
        AttributeError: it has no such client.
    """
    try:
        with _lock:
            return getattr(_alone(package, module), name)
    except (ImportError, AttributeError) as exc:
        log.info("oci_client_with_models", package=package, reason=str(exc))
        return getattr(importlib.import_module(package), name)


def _alone(package: str, module: str) -> ModuleType:
    """A module of the SDK, loaded without its package."""
    own = f"{_HERE}.{package.replace('.', '_')}"
    full = f"{own}.{module}"
    if full in sys.modules:
        return sys.modules[full]
    found = importlib.util.find_spec(package)
    folders = [] if found is None else list(found.submodule_search_locations or ())
    files = [file for f in folders if (file := Path(f, f"{module}.py")).is_file()]
    if not files:
        raise ImportError(f"{package} has no file {module}.py")
    spec = importlib.util.spec_from_file_location(full, files[0])
    if spec is None or spec.loader is None:
        raise ImportError(f"{files[0]} can't be loaded")
    # Its `from .models import …` is to find nothing but the name.
    sys.modules[own] = importlib.util.module_from_spec(ModuleSpec(own, None, is_package=True))
    sys.modules[f"{own}.models"] = _NoModels(f"{own}.models")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[full] = loaded
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        del sys.modules[full]
        raise
    return loaded


class _NoModels(ModuleType):
    """A package of models that has none: its table of types is empty."""

    def __getattr__(self, name: str) -> dict[str, Any]:
        """`core_type_mapping` and its like.

        Raises:
            AttributeError: for every other name: then it is not what was expected.
        """
        if name.endswith("_type_mapping"):
            return {}
        raise AttributeError(name)
