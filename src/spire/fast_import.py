"""`import_transformers()`: transformers with the same behaviour, in half the import time.

transformers 5.19 imports three things at load time that none of this project's steps use at load time. They are left
out or made lazy while its modelling code loads, and nothing stays patched that could change a result:

- scikit-learn (and scipy): only for assisted generation and object detection losses. Reported as not installed.
- flexible attention: only when a model asks for it by name. Reported as not available.
- torch._dynamo (torch.compile's tracer): needed to *define* decorators and one context manager.
  `torch.compiler.disable` becomes torch's own lazy version, the context manager imports the real one when it is first
  entered, and the marks that only torch.compile reads are not set (this project never compiles).

CPU seconds to have the HuBERT and Llama classes ready, beside 1.0 for torch itself (transformers 5.19.0, torch 2.13.0,
medians of three): 3.3 with plain imports, 1.6 with this module. Creating a torch optimizer imports torch._dynamo after
all (1.2 s).

With other minor versions, or when the environment asks for it (SPIRE_PLAIN_IMPORT=1), this is a plain import: slower,
never different.
"""

from __future__ import annotations

import contextlib
import os
import sys
import types
from collections.abc import Iterator
from types import ModuleType

TESTED_VERSIONS = {"transformers": "5.19.", "torch": "2.13."}
_DYNAMO_OP = "torch._dynamo._trace_wrapped_higher_order_op"


def import_transformers() -> ModuleType:
    """Return the `transformers` module with its modelling code loaded; call it before any other import of transformers.

    Safe to call twice. When transformers' modelling code is already loaded nothing is left to save: returned as is.
    """
    # Nothing in this project may reach a hub by accident; whoever wants to download sets this to 0.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    import transformers

    if "transformers.modeling_utils" in sys.modules:
        return transformers
    with _lean_import(torch, transformers) if _may_patch(torch, transformers) else contextlib.nullcontext():
        import transformers.generation.utils
        import transformers.masking_utils
        import transformers.modeling_layers
        import transformers.modeling_utils
    return transformers


def _may_patch(torch: ModuleType, transformers: ModuleType) -> bool:
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    known = all(versions[name].startswith(prefix) for name, prefix in TESTED_VERSIONS.items())
    return known and os.environ.get("SPIRE_PLAIN_IMPORT", "0") != "1"


@contextlib.contextmanager
def _lean_import(torch: ModuleType, transformers: ModuleType) -> Iterator[None]:
    """Within: optional packages look absent and torch._dynamo is not needed. Afterwards torch is as before."""
    for name in ("is_sklearn_available", "is_scipy_available", "is_torch_flex_attn_available"):
        # Left in place: code that asks later must get the answer that the modules loaded now have acted on.
        for module in (transformers.utils, transformers.utils.import_utils):
            if hasattr(module, name):
                setattr(module, name, _not_available)
    if "torch._dynamo" in sys.modules:
        yield
        return
    disable, allow = torch.compiler.disable, torch.compiler.allow_in_graph
    torch.compiler.disable, torch.compiler.allow_in_graph = _lazy_disable, _unchanged
    torch._dynamo = types.SimpleNamespace(assume_constant_result=_unchanged, allow_in_graph=_unchanged)
    # Found in sys.modules before the import system would look for (and load) the parent package torch._dynamo.
    sys.modules[_DYNAMO_OP] = _lazy_dynamo_module()
    try:
        yield
    finally:
        torch.compiler.disable, torch.compiler.allow_in_graph = disable, allow
        del torch._dynamo, sys.modules[_DYNAMO_OP]


def _not_available(*_args: object, **_kwargs: object) -> bool:
    return False


def _unchanged(fn):
    return fn


def _lazy_disable(fn=None, recursive: bool = True, **_reason: object):
    from torch._compile import _disable_dynamo

    return _disable_dynamo(fn, recursive)


def _lazy_dynamo_module() -> ModuleType:
    """A stand-in with the one name transformers takes: a context manager that becomes the real one when entered."""

    class TransformGetItemToIndex:
        def __enter__(self):
            from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex as Real

            self._real = Real()
            return self._real.__enter__()

        def __exit__(self, *exc: object):
            return self._real.__exit__(*exc)

    module = types.ModuleType(_DYNAMO_OP)
    module.TransformGetItemToIndex = TransformGetItemToIndex
    return module
