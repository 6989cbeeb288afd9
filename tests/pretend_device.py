"""A GPU that isn't there: tensors keep their bytes on the CPU, but say that they lie on `cuda` or
`mps`, and what a real one would refuse is refused.

    with PretendDevice("mps") as device:
        method = fit(...)
    device.waits        # how often the program waited for the GPU, by reason, file and line

Where a tensor lies is noted on its storage, so that views, parameters and gradients agree and
nothing outlives the memory it speaks of. Two modes see to the rest. The function mode answers what
never reaches the dispatcher: `.device`, `.to`, `numpy()`, `tolist()`, `device=` of a new tensor.
The dispatch mode sees every operation that is carried out, also those of a backward pass.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import torch
import torch._dynamo  # it looks at the real devices when it is loaded: before any is pretended
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import pzsl

CPU = torch.device("cpu")
MEMORY = 24 << 30
"""Bytes that the pretended GPU has; what lies on it is counted only where it has less."""
PACKAGE = str(Path(pzsl.__file__).parent)
aten = torch.ops.aten

COPIES = {aten.copy_, aten._to_copy, aten.set_}
"""May read from one device and write to another."""
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
"""May have their indices on the CPU, at the price of a copy."""
WAITS = {
    aten._local_scalar_dense: "a number is read",
    aten.is_nonzero: "a number is read",
    aten.equal: "a number is read",
    aten.nonzero: "its size depends on the data",
    aten.argwhere: "its size depends on the data",
    aten.masked_select: "its size depends on the data",
    aten.unique_dim: "its size depends on the data",
    aten.unique_consecutive: "its size depends on the data",
    aten._unique2: "its size depends on the data",
    aten.bincount: "its size depends on the data",
}
NOT_ON_MPS = {
    aten.segment_reduce,
    aten._segment_reduce_backward,
    aten._linalg_eigh,
    aten._linalg_svd,
    aten.linalg_qr,
    aten.linalg_cholesky_ex,
    aten.cholesky_inverse,
}
UNORDERED = {
    *(aten.index_add, aten.index_add_, aten.scatter_add, aten.scatter_add_, aten.put_),
    *(aten.scatter_reduce, aten.scatter_reduce_, aten.index_reduce, aten.index_reduce_),
    *(aten.embedding_dense_backward, aten._embedding_bag_dense_backward, aten.histc),
    *(aten.bincount, aten.cumsum, aten.cumprod, aten.grid_sampler_2d_backward),
}
"""Operations in which CUDA adds numbers in whatever order its threads come to them."""
EXACT = ("amax", "amin")
"""Reductions whose outcome does not depend on the order."""
PLAIN = {
    Tensor.device.__get__: lambda place: place,
    Tensor.is_cpu.__get__: lambda place: place.type == "cpu",
    Tensor.is_cuda.__get__: lambda place: place.type == "cuda",
    Tensor.is_mps.__get__: lambda place: place.type == "mps",
    Tensor.get_device: lambda place: -1 if place.type == "cpu" else 0,
}
"""Questions that a tensor answers by where it lies."""


class DeviceError(RuntimeError):
    """What a real device would have refused."""


class Wait(NamedTuple):
    """Why the program waited for the GPU, and the line of it that did."""

    reason: str
    line: str


class PretendDevice:
    """Context in which a device of a kind is there; see the top of the file.

    Args:
        kind: `cuda` or `mps`.
        memory: bytes that it has; what does not fit is refused as CUDA does.

    Attributes:
        waits: how often the program waited, by reason and line.
        unordered: how often numbers were added in no fixed order, by line.
        held, most: bytes that lie on it now, and at most so far.
    """

    def __init__(self, kind: str, memory: int = MEMORY) -> None:
        self.kind, self.memory = kind, memory
        self.held = self.most = 0
        self.device = torch.device(kind, 0)
        self.waits: Counter[Wait] = Counter()
        self.unordered: Counter[str] = Counter()
        self.moving = False
        self._new: list[torch.device] = []
        self._stack = ExitStack()

    def __enter__(self) -> PretendDevice:
        there = {"torch.cuda": self.kind == "cuda", "torch.backends.mps": self.kind == "mps"}
        for module, present in there.items():
            self._patch(f"{module}.is_available", lambda present=present: present)
        self._patch("torch.cuda.device_count", lambda: int(self.kind == "cuda"))
        about = SimpleNamespace(total_memory=self.memory, name="pretended", major=9, minor=0)
        self._patch("torch.cuda.get_device_properties", lambda _=None: about)
        self._patch(
            "torch.cuda.mem_get_info", lambda _=None: (self.memory - self.held, self.memory)
        )
        self._patch("torch.mps.recommended_max_memory", lambda: self.memory)
        self._patch("torch.mps.driver_allocated_memory", lambda: self.held)
        self._patch("torch.cuda.empty_cache", lambda: None)
        self._patch("torch.cuda.synchronize", lambda _=None: None)
        self._stack.enter_context(_Dispatch(self))
        self._stack.enter_context(_Function(self))
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def _patch(self, name: str, answer: Callable[..., Any]) -> None:
        self._stack.enter_context(mock.patch(name, answer))

    def place(self, tensor: Tensor) -> torch.device:
        """Where a tensor says it lies."""
        with torch._C.DisableTorchFunction():
            return getattr(tensor.untyped_storage(), "pretended", CPU)

    def put(self, tensor: Tensor, place: torch.device) -> None:
        """Let a tensor, with all that shares its memory, say that it lies at a place."""
        if place.type != "cpu" and self.kind == "mps" and tensor.dtype == torch.float64:
            self.refuse("MPS knows no float64")
        with torch._C.DisableTorchFunction():
            storage = tensor.untyped_storage()
            before, storage.pretended = getattr(storage, "pretended", CPU), place
            if self.memory < MEMORY and place.type != "cpu" and before.type == "cpu":
                self.take(storage.nbytes())
                weakref.finalize(storage, self.take, -storage.nbytes())

    def take(self, size: int) -> None:
        """Count bytes that come to lie here, or that are given back.

        Raises:
            RuntimeError: there is no room for them.
        """
        if size > 0 and self.held + size > self.memory:
            raise RuntimeError(f"CUDA out of memory: {self.held} bytes held, {size} asked for.")
        self.held += size
        self.most = max(self.most, self.held)

    def resolve(self, place: Any) -> torch.device:
        """What `device=` or `.to` was given; a number means a GPU.

        Raises:
            DeviceError: there is no such device.
        """
        asked = torch.device(self.kind, place) if isinstance(place, int) else torch.device(place)
        if asked.type not in ("cpu", self.kind) or asked.index not in (None, 0):
            self.refuse(f"there is no device {asked}")
        return CPU if asked.type == "cpu" else self.device

    def refuse(self, what: str) -> None:
        """Raises: DeviceError, with the line of the program that did it."""
        raise DeviceError(f"{what}, at {_line()}")

    def wait(self, reason: str) -> None:
        """Count a wait."""
        self.waits[Wait(reason, _line())] += 1

    def new_tensors(self) -> torch.device:
        """Where a tensor lies that is made out of no other one."""
        return self._new[-1] if self._new else CPU

    def making(self, place: torch.device, call: Callable[[], Any]) -> Any:
        """What `call` gives, with new tensors at `place`."""
        self._new.append(place)
        try:
            return call()
        finally:
            self._new.pop()


def _line() -> str:
    """File and line of the program nearest to where we are; of a test where it is not in it."""
    frame, outer = sys._getframe(1), ""
    while frame:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE):
            return f"{name[len(PACKAGE) + 1 :]}:{frame.f_lineno}"
        if not outer and name != __file__ and "/torch/" not in name:
            outer = f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return outer


class _Dispatch(TorchDispatchMode):
    """Checks each operation, and says where its outcome lies."""

    def __init__(self, device: PretendDevice) -> None:
        super().__init__()
        self.device = device

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # its wrapper costs as much as all that is done here

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():
            tensors = [*_tensors(args), *_tensors(kwargs.values())]
            storages = [each.untyped_storage() for each in tensors]
            places = [getattr(each, "pretended", CPU) for each in storages]
            place = self._place(func, args, tensors, places)
            if place.type != "cpu":
                self._check(func, kwargs)
            found = func(*args, **kwargs)
            if place.type != "cpu" and _is_unordered(func, args, found):
                self.device.unordered[_line()] += 1
            if place.type == "cpu":
                return found
            known = {each._cdata for each in storages}
            for each in _tensors(found if isinstance(found, list | tuple) else (found,)):
                if each.untyped_storage()._cdata not in known:
                    self.device.put(each, place)
        return found

    def _place(
        self, func: Any, args: tuple[Any, ...], tensors: list[Tensor], places: list[torch.device]
    ) -> torch.device:
        device, packet = self.device, func.overloadpacket
        if not tensors:
            return device.new_tensors()
        if packet is aten.copy_ and places[0] != places[1]:
            device.wait("a copy between devices")
        if packet is aten._to_copy and device.moving:
            return device.new_tensors()
        if packet in COPIES:
            return places[0]
        if packet in INDEXING:
            self._check_index(func, args, places[0])
            return places[0]
        whole = {place for place, each in zip(places, tensors, strict=True) if each.dim()}
        if len(whole) > 1 or (whole == {CPU} and len(set(places)) > 1):
            shapes = [f"{tuple(e.shape)} {p}" for e, p in zip(tensors, places, strict=True)]
            device.refuse(f"{func} of tensors on two devices: {', '.join(shapes)}")
        return next(iter(whole), places[0])

    def _check_index(self, func: Any, args: tuple[Any, ...], place: torch.device) -> None:
        device = self.device
        for index in args[1]:
            if not isinstance(index, Tensor):
                continue
            at = device.place(index)
            if place.type == "cpu" and at.type != "cpu":
                device.refuse(f"{func} of a CPU tensor by an index on the device")
            if place.type != "cpu" and at.type == "cpu":
                device.wait("a copy between devices")
            if place.type != "cpu" and index.dtype in (torch.bool, torch.uint8):
                device.wait("its size depends on the data")

    def _check(self, func: Any, kwargs: dict[str, Any]) -> None:
        device, packet = self.device, func.overloadpacket
        if isinstance(kwargs.get("generator"), torch.Generator):
            device.refuse(f"{func} on the device with a CPU generator")
        if device.kind == "mps" and packet in NOT_ON_MPS:
            device.refuse(f"{func} is unknown to MPS")
        if packet in WAITS:
            device.wait(WAITS[packet])
        if packet is aten.repeat_interleave and kwargs.get("output_size") is None:
            device.wait("its size depends on the data")


def _is_unordered(func: Any, args: tuple[Any, ...], found: Any) -> bool:
    """Whether an operation has added numbers whose sum depends on the order."""
    if func.overloadpacket not in UNORDERED:
        return False
    exact = any(isinstance(each, str) and each in EXACT for each in args)
    return not exact and isinstance(found, Tensor) and found.is_floating_point()


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among values, and among the elements of lists and tuples."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


class _Function(TorchFunctionMode):
    """Answers what never reaches the dispatcher."""

    def __init__(self, device: PretendDevice) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs, device = dict(kwargs or {}), self.device
        name = getattr(func, "__name__", "")
        if func in PLAIN:
            return PLAIN[func](device.place(args[0]))
        if func in (Tensor.to, Tensor.cpu, Tensor.cuda, Tensor.pin_memory):
            return self._transfer(func, *args, **kwargs)
        if name in ("numpy", "__array__", "__dlpack__") and device.place(args[0]).type != "cpu":
            device.refuse(f"{name} of a tensor on the device")
        if func is Tensor.tolist and device.place(args[0]).type != "cpu":
            device.wait("a number is read")
        if name == "_parse_to":  # of `Module.to`, which goes on to `Tensor.to`
            return func(*args, **kwargs)
        if "device" in kwargs or name in ("tensor", "as_tensor", "asarray"):
            return self._make(func, name, args, kwargs)
        # What is made inside of an operation lies where its arguments do.
        places = (device.place(each) for each in _tensors(args))
        place = next((each for each in places if each.type != "cpu"), None)
        if place is None:
            return func(*args, **kwargs)
        return device.making(place, lambda: func(*args, **kwargs))

    def _make(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A new tensor, on the device that was asked for."""
        device, given = self.device, kwargs.pop("device", None)
        source = next((each for each in args if isinstance(each, Tensor)), None)
        if given is not None:
            place = device.resolve(given)
        else:
            place = CPU if source is None else device.place(source)
        if place.type != "cpu" and isinstance(kwargs.get("generator"), torch.Generator):
            device.refuse(f"{name} on the device with a CPU generator")
        found = device.making(place, lambda: func(*args, **kwargs))
        if isinstance(found, Tensor):
            if name in ("tensor", "as_tensor", "asarray") and place.type != "cpu":
                if source is not None and device.place(source) == place:
                    return found
                device.wait("a copy between devices")
                found = found.clone() if source is not None else found
            device.put(found, place)
        return found

    def _transfer(self, func: Any, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """A tensor somewhere else, or in memory that the GPU reads by itself."""
        if func is Tensor.pin_memory:
            return self._pinned(tensor)
        if func is not Tensor.to:
            return self._to(tensor, device=func.__name__)
        return self._to(tensor, *args, **kwargs)

    def _to(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """`Tensor.to` in all its forms."""
        place, others = kwargs.pop("device", None), []
        given = [*args, *([kwargs.pop("other")] if "other" in kwargs else [])]
        for each in given:
            if isinstance(each, Tensor):
                place, others = self.device.place(each), [*others, each.dtype]
            elif isinstance(each, str | torch.device) or type(each) is int:
                place = each
            elif isinstance(each, torch.dtype):
                others.append(each)
        kind = kwargs.pop("dtype", None) or next(iter(others), None)
        where = self.device.place(tensor) if place is None else self.device.resolve(place)
        with torch._C.DisableTorchFunction():
            pinned = getattr(tensor.untyped_storage(), "pinned", False)
        return self._move(tensor, where, kind, kwargs.get("non_blocking", False) and pinned)

    def _pinned(self, tensor: Tensor) -> Tensor:
        """A copy in memory that the GPU reads by itself."""
        if self.device.kind != "cuda" or self.device.place(tensor).type != "cpu":
            self.device.refuse("only CUDA pins memory, that of the CPU")
        with torch._C.DisableTorchFunction():
            copy = tensor.clone()
            copy.untyped_storage().pinned = True
        return copy

    def _move(
        self, tensor: Tensor, place: torch.device, kind: Any = None, unnoticed: bool = False
    ) -> Tensor:
        device = self.device
        here, kind = device.place(tensor), tensor.dtype if kind is None else kind
        if here == place:
            return tensor if kind == tensor.dtype else tensor.type(kind)
        if not unnoticed:
            device.wait("a copy between devices")
        device.moving = True
        try:
            return device.making(place, lambda: aten._to_copy(tensor, dtype=kind))
        finally:
            device.moving = False
