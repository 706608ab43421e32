"""A device that does not exist: its tensors live on the CPU, but claim to be elsewhere.

As on a GPU, an operation refuses tensors of two devices, and NumPy gets no tensor that was not brought to the
CPU. So what a GPU would refuse shows on a machine that has none. The device is called "meta", which torch
knows on every machine and which needs no driver. Only inside `elsewhere()` do its tensors hold numbers.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
aten = torch.ops.aten
#: What may take a tensor of another device: copies, and an index, which a GPU takes from the CPU too.
CROSSING = {aten._to_copy.default, aten.copy_.default, aten.index.Tensor, aten.index_put_.default}
#: Functions that turn Python's numbers into a tensor on a device without asking a dispatch mode.
FROM_DATA = ("tensor", "as_tensor", "asarray")


class Elsewhere(torch.Tensor):
    """A tensor that claims to be on `DEVICE`; `held` has its numbers, on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "Elsewhere":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=DEVICE,
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # results are what dispatch makes of them

    def tolist(self) -> Any:
        """As on every device."""
        return self.detach().cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Refused, unless with force."""
        if not force:
            raise TypeError(f"can't convert {DEVICE} device type tensor to numpy")
        return self.detach().cpu().numpy()

    def __getitem__(self, index: Any) -> torch.Tensor:
        """As on every device."""
        return super().__getitem__(_lists_as_tensors(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        """As on every device."""
        super().__setitem__(_lists_as_tensors(index), value)

    def new_tensor(self, data: Any, **options: Any) -> torch.Tensor:
        """As on every device."""
        return torch.tensor(data, **{"dtype": self.dtype, "device": DEVICE, **options})

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.numpy()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def _lists_as_tensors(index: Any) -> Any:
    """The index with lists as tensors, which torch would make on `DEVICE` itself."""
    parts = [torch.tensor(part) if isinstance(part, list) else part for part in _entries(index)]
    return tuple(parts) if isinstance(index, tuple) else parts[0]


def _entries(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


class _Factories(TorchDispatchMode):
    """Makes tensors elsewhere if `device=` asks for it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the CPU, after the checks of a device, and say that the results are elsewhere."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    away = any(isinstance(tensor, Elsewhere) for tensor in tensors)
    if any(tensor.is_meta and not isinstance(tensor, Elsewhere) for tensor in tensors):
        raise NotImplementedError(f"{func} got a tensor that torch made there itself, without numbers")
    asked = kwargs.get("device")
    if away and func not in CROSSING:
        for tensor in tensors:
            if not isinstance(tensor, Elsewhere) and tensor.dim() > 0:
                raise RuntimeError(
                    f"Expected all tensors to be on the same device, but {func} got {DEVICE} and cpu"
                )
    if func in (aten.index.Tensor, aten.index_put_.default) and not isinstance(args[0], Elsewhere) and away:
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor")
    args, kwargs = tree_map(lambda leaf: leaf.held if isinstance(leaf, Elsewhere) else leaf, (args, kwargs))
    if asked is not None:
        kwargs["device"] = torch.device("cpu")
    out = func(*args, **kwargs)
    if func is aten.copy_.default:
        claims = isinstance(tensors[0], Elsewhere)
    else:
        claims = torch.device(asked).type == DEVICE.type if asked is not None else away
    # A result that is an argument changed in place is that argument again.
    known = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, Elsewhere)}

    def there(leaf: Any) -> Any:
        return known[id(leaf)] if id(leaf) in known else Elsewhere(leaf)

    return tree_map(lambda leaf: there(leaf) if claims and isinstance(leaf, torch.Tensor) else leaf, out)


def _then_moved(function: Any) -> Any:
    def make(*args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
        made = function(*args, **kwargs)
        return made if device is None else made.to(device)

    return make


class _Generator(torch.Generator):
    """A generator of the CPU, which draws the numbers of both devices."""

    def __new__(cls, device: Any = "cpu") -> "_Generator":
        return super().__new__(cls, "cpu" if torch.device(device).type == DEVICE.type else device)


class _Autocast(torch.autocast):
    """Mixed precision; there is none elsewhere."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        if device_type == DEVICE.type:
            super().__init__("cpu", enabled=False)
        else:
            super().__init__(device_type, *args, **kwargs)


def _submit(
    pool: ThreadPoolExecutor, run: Any, /, *args: Any, submit: Any = ThreadPoolExecutor.submit, **kwargs: Any
) -> Any:
    """Give a thread of the pool the dispatch mode, which belongs to one thread."""

    def inside() -> Any:
        with _Factories():
            return run(*args, **kwargs)

    return submit(pool, inside)


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """The device, on which tensors hold numbers as long as the context lasts."""
    with ExitStack() as stack:
        stack.enter_context(_Factories())
        stack.enter_context(patch.object(torch, "Generator", _Generator))
        stack.enter_context(patch.object(torch, "autocast", _Autocast))
        stack.enter_context(patch.object(ThreadPoolExecutor, "submit", _submit))
        for name in FROM_DATA:
            stack.enter_context(patch.object(torch, name, _then_moved(getattr(torch, name))))
        yield DEVICE
