"""Fingerprints of objects by their content, so that equal contexts are recognized as equal."""

import hashlib
import io
import pickle
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def fingerprints(objects: Sequence[Any]) -> list[bytes]:
    """Return 16 bytes per object; objects of equal content get equal bytes.

    - Tensors and arrays: dtype, shape and values count. Memory layout, device and gradient do not. A tensor
      equals the array of the same dtype, shape and values.
    - Numbers are equal if Python compares them as equal; so are −0.0 and 0.0 inside arrays.
    - Containers: their items count, in any order for dicts and sets.
    - Any other object: what `pickle` would store of it counts, with arrays and tensors as above.

    The time is linear in the content. An object that is listed several times is read once.

    Raises:
        TypeError: an object, or something inside it, cannot be pickled.

    Examples:
        >>> batch = torch.eye(3)
        >>> first, second = fingerprints([{"mask": batch[0]}, {"mask": np.array([1, 0, 0], np.float32)}])
        >>> first == second
        True
    """
    known: dict[int, bytes] = {}
    for each in objects:
        if id(each) not in known:
            known[id(each)] = _read(each)
    return [known[id(each)] for each in objects]


def _read(value: Any) -> bytes:
    kind = type(value)
    if kind is str:
        return _hash("str", [value.encode(errors="surrogatepass")])
    if kind in (tuple, list):
        return _hash(kind.__name__, map(_read, value))
    if kind is dict:
        return _hash("dict", sorted(_read(key) + _read(item) for key, item in value.items()))
    if kind in (set, frozenset):
        return _hash(kind.__name__, sorted(map(_read, value)))
    if isinstance(value, Tensor) or kind in _ARRAYS:
        return _hash("array", [part.encode() if isinstance(part, str) else part for part in _content(value)])
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | float | complex):
        return _hash("number", [_plain(value).encode()])
    try:
        return _hash("object", [_pickled(value)])
    except Exception as error:
        raise TypeError(
            "a context must be picklable for a SolutionPool, which compares contexts by content, "
            f"but: {error}"
        ) from error


_ARRAYS = (np.ndarray, np.memmap)
_FLOATS = (torch.float16, torch.float32, torch.float64)


def _content(value: Any) -> tuple[str, bytes]:
    """Return the same dtype, shape and values for tensors and arrays that are equal."""
    name = ""
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            value = value.to_dense()
        if value.is_floating_point() and value.dtype not in _FLOATS:  # NumPy has no bfloat16
            name, value = str(value.dtype), value.float()
        value = value.numpy(force=True)
    if value.dtype.hasobject:
        return f"objects {value.shape}", b"".join(map(_read, value.ravel().tolist()))
    if value.dtype.kind in "fc":
        value = value + value.dtype.type(0)  # makes −0.0 to 0.0
    if not value.dtype.isnative:
        value = value.astype(value.dtype.newbyteorder("="))
    dtype = value.dtype.descr if value.dtype.names else value.dtype.str
    return f"{name} {dtype} {value.shape}", value.tobytes()


def _plain(number: complex) -> str:
    """Return the same text for numbers that Python compares as equal."""
    if isinstance(number, complex) and number.imag == 0:
        number = number.real
    if isinstance(number, bool) or (isinstance(number, float) and number.is_integer()):
        number = int(number)
    return repr(number)


class _Pickler(pickle.Pickler):
    """Stores tensors and arrays by their content."""

    def reducer_override(self, value: Any) -> Any:
        """Return how to store an object: as its content, or as usual."""
        return (_content, _content(value)) if isinstance(value, Tensor | np.ndarray) else NotImplemented


def _pickled(value: Any) -> bytes:
    # Without a memo the bytes do not tell whether equal parts are one object; but a circle needs it.
    for without_memo in (True, False):
        file = io.BytesIO()
        pickler = _Pickler(file, protocol=5)
        pickler.fast = without_memo
        try:
            pickler.dump(value)
        except (ValueError, RecursionError):
            if not without_memo:
                raise
        else:
            break
    return file.getvalue()


def _hash(kind: str, parts: Iterable[bytes]) -> bytes:
    hasher = hashlib.blake2b(kind.encode(), digest_size=16)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.digest()
