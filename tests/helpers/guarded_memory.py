"""Triton's interpreter with a guard: a kernel that reads or writes outside of its tensors fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from triton.runtime import interpreter


@contextmanager
def guarded() -> Iterator[None]:
    """Kernels inside of the context raise an error that names the first access outside of all tensors of the launch."""
    tensors: list[tuple[int, int]] = []
    run = interpreter.GridExecutor.__call__
    load, store = interpreter.InterpreterBuilder.create_masked_load, interpreter.InterpreterBuilder.create_masked_store

    def launch(executor: Any, *arguments: Any, **named: Any) -> None:
        tensors[:] = [
            (each.data_ptr(), each.data_ptr() + each.numel() * each.element_size())
            for each in (*arguments, *named.values())
            if isinstance(each, torch.Tensor)
        ]
        run(executor, *arguments, **named)

    def check(verb: str, pointers: Any, mask: Any) -> None:
        used = pointers.data[mask.data.astype(bool)]
        if used.size:
            size = pointers.get_element_ty().primitive_bitwidth // 8
            first, last = int(used.min()), int(used.max()) + size
            # one access begins at one argument
            assert any(begin <= first and last <= end for begin, end in tensors), f"{verb} outside of the tensors"

    def guarded_load(builder: Any, pointers: Any, mask: Any, *others: Any) -> Any:
        check("reads", pointers, mask)
        return load(builder, pointers, mask, *others)

    def guarded_store(builder: Any, pointers: Any, value: Any, mask: Any, *others: Any) -> Any:
        check("writes", pointers, mask)
        return store(builder, pointers, value, mask, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter.GridExecutor, "__call__", launch)
        patch.setattr(interpreter.InterpreterBuilder, "create_masked_load", guarded_load)
        patch.setattr(interpreter.InterpreterBuilder, "create_masked_store", guarded_store)
        yield
