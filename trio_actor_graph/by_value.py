"""Pickling by value what cannot be pickled by name. Apart, as cloudpickle takes 20 ms to import."""

from __future__ import annotations

import io
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

import cloudpickle


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """cloudpickle, taught that modules of a subclass of ModuleType, as trio 0.23's, are modules."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, ModuleType) and sys.modules.get(obj.__name__) is obj:
            return import_module, (obj.__name__,)
        return super().reducer_override(obj)


def dumps(value: object) -> bytes:
    """The pickle of a value, with functions and classes of `__main__`, and closures, inside it."""
    with io.BytesIO() as file:
        _Pickler(file, protocol=5).dump(value)
        return file.getvalue()
