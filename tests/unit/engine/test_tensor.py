"""The Tensor as tasks use it: making, reading, views, buffers, and clear refusals."""

import array
import gc
import itertools
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest

from device_agent.engine import _core


def counting(shape: tuple[int, ...]) -> _core.Tensor:
    """0, 1, 2, ... in the shape."""
    count = int(np.prod(shape))
    return _core.frombuffer(np.arange(count, dtype=np.int32), "int32", shape)


def test_nested_lists_come_back() -> None:
    tensor = _core.tensor([[1, 2, 3], [4, 5, 6]])
    assert (tensor.shape, tensor.dtype, tensor.ndim) == ((2, 3), "float32", 2)
    assert (tensor.size, tensor.nbytes, len(tensor), tensor.strides) == (6, 24, 2, (3, 1))
    assert tensor.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert repr(tensor) == "Tensor(shape=(2, 3), dtype='float32')"
    assert _core.tensor(7, "int64").tolist() == 7
    assert _core.tensor([], "uint8").shape == (0,)
    assert _core.tensor((1, 2), "int32").tolist() == [1, 2]


def test_zeros_and_full() -> None:
    assert _core.zeros((2, 2), "int64").tolist() == [[0, 0], [0, 0]]
    assert _core.full(3, 1.5).tolist() == [1.5, 1.5, 1.5]
    assert _core.full((), 9, "uint8").item() == 9


@pytest.mark.parametrize(
    ("data", "dtype", "error"),
    [
        ([[1, 2], [3]], "float32", ValueError),
        ([1, [2]], "float32", TypeError),
        ([256], "uint8", ValueError),
        ([-1], "uint8", ValueError),
        ([2**31], "int32", ValueError),
        ([2**70], "int64", OverflowError),
        ([1.5], "int32", TypeError),
        (["a"], "float32", TypeError),
        ([1], "complex64", TypeError),
        ([[[[[[[[[1]]]]]]]]], "float32", ValueError),
    ],
)
def test_what_is_no_tensor_is_refused(data: list[int], dtype: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        _core.tensor(data, dtype)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.slow
def test_bytes_are_not_copied() -> None:
    store = bytearray(b"\1\2\3\4")
    tensor = _core.frombuffer(store, "uint8", (2, 2))
    store[3] = 9
    assert tensor.tolist() == [[1, 2], [3, 9]]
    with pytest.raises(BufferError):
        store.append(1)  # the tensor holds on to it
    row = tensor[1]
    del tensor
    gc.collect()
    with pytest.raises(BufferError):
        store.append(1)  # so does a view of it
    del row
    gc.collect()
    store.append(1)


def test_buffers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="whole elements"):
        _core.frombuffer(b"12345")
    with pytest.raises(ValueError, match="does not reshape"):
        _core.frombuffer(b"12345678", "float32", (3,))
    with pytest.raises(ValueError, match="negative axis"):
        _core.frombuffer(b"12345678", "float32", (-2,))
    with pytest.raises(BufferError):
        _core.frombuffer(memoryview(b"12345678")[::2], "uint8")
    with pytest.raises(TypeError):
        _core.frombuffer("text", "uint8")  # type: ignore[arg-type]  # wrong on purpose


def test_unaligned_bytes_are_copied_to_where_they_may_lie() -> None:
    numbers = array.array("f", [1.0, 2.0, 3.0]).tobytes()
    tensor = _core.frombuffer(memoryview(b"x" + numbers)[1:], "float32")
    assert tensor.tolist() == [1.0, 2.0, 3.0]


def test_exported_buffers_are_read_only_and_strided() -> None:
    tensor = counting((3, 4))
    view = memoryview(tensor)
    assert (view.shape, view.strides, view.format, view.readonly) == ((3, 4), (16, 4), "i", True)
    assert view.tolist() == tensor.tolist()
    turned = tensor.transpose()
    assert memoryview(turned).tolist() == turned.tolist()
    np.testing.assert_array_equal(np.asarray(turned[::-1]), np.asarray(tensor).T[::-1])
    with pytest.raises(BufferError, match="strided"):
        turned.__buffer__(0)
    with pytest.raises(BufferError, match="immutable"):
        tensor.__buffer__(1)
    with pytest.raises((BufferError, TypeError)):
        array.array("i").frombytes(turned)  # a consumer that takes no strides
    assert bytes(tensor) == tensor.tobytes()


def test_a_view_outlives_what_it_was_made_from() -> None:
    view = memoryview(counting((4,))[2:])
    gc.collect()
    assert view.tolist() == [2, 3]


@pytest.mark.parametrize(
    "key", [0, -1, slice(1, None), (1, 2), (slice(None), -1), (0, slice(None, None, -2)), (1, 0, 1)]
)
def test_indices_as_in_numpy(key: int | slice | tuple[int | slice, ...]) -> None:
    whole = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    np.testing.assert_array_equal(np.asarray(counting((2, 3, 4))[key]), whole[key])


def test_indices_that_are_outside_are_refused() -> None:
    tensor = counting((2, 3))
    for key in (2, -3, (0, 3), (0, 0, 0), 2**70):
        with pytest.raises(IndexError):
            tensor[key]
    with pytest.raises(TypeError):
        tensor["a"]  # type: ignore[index]  # wrong on purpose
    with pytest.raises(TypeError, match="no length"):
        len(tensor[0, 0])


def test_iteration_gives_rows() -> None:
    assert [row.tolist() for row in counting((2, 2))] == [[0, 1], [2, 3]]


def test_views_share_storage_and_copies_do_not() -> None:
    store = bytearray(4)
    tensor = _core.frombuffer(store, "uint8", (2, 2))
    view, copy = tensor.reshape(4), tensor.transpose().reshape(4)
    store[1] = 7
    assert (view.tolist(), copy.tolist()) == ([0, 7, 0, 0], [0, 0, 0, 0])


def test_shapes_that_cannot_be_are_refused() -> None:
    tensor = counting((2, 3))
    for shape in ((4,), (-1, -1), (-1, 4), (-2, 3), (2**40, 2**40), (1,) * 7):
        with pytest.raises(ValueError, match=r"reshape|axis|axes|open|elements"):
            tensor.reshape(shape)
    for axes in ((0,), (0, 0), (0, 2), (0, 1, 2)):
        with pytest.raises(ValueError, match=r"axes|axis"):
            tensor.transpose(axes)
    with pytest.raises(ValueError, match="too many"):
        _core.zeros((2**20, 2**20))
    with pytest.raises(ValueError, match="negative"):
        _core.zeros((-1,))


def test_operators_and_numbers() -> None:
    x = _core.tensor([1.0, 2.0])
    assert (x + 1).tolist() == (1 + x).tolist() == [2, 3]
    assert ((x - 1).tolist(), (1 - x).tolist()) == ([0, 1], [0, -1])
    assert ((x * 2).tolist(), (2 / x).tolist(), (-x).tolist()) == ([2, 4], [2, 1], [-1, -2])
    assert (x @ x).item() == 5
    with pytest.raises(TypeError):
        x + "a"  # type: ignore[operator]  # wrong on purpose
    with pytest.raises(TypeError):
        x @ 3  # type: ignore[operator]  # wrong on purpose


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda x: _core.add(x, x.astype("int32")), TypeError, "cast one"),
        (lambda x: _core.matmul(x, x), ValueError, "inner axes"),
        (lambda x: _core.softmax(x.astype("int32")), TypeError, "takes float32"),
        (lambda x: _core.softmax(x, 2), ValueError, "axis 2"),
        (lambda x: _core.sum(x.astype("uint8")), TypeError, "cast it"),
        (lambda x: _core.sum(x, (0, 0)), ValueError, "twice"),
        (lambda x: _core.add(x, _core.zeros((4,))), ValueError, "broadcast"),
        (lambda _: _core.add(1, 2), TypeError, "must be a Tensor"),
        (lambda _: _core.relu([1]), TypeError, "a Tensor is needed"),  # type: ignore[arg-type]  # on purpose
        (lambda x: _core.relu(x, level="sse9"), ValueError, "no level"),  # type: ignore[arg-type]  # on purpose
        (lambda _: _core.concat([]), ValueError, "0 inputs"),
        (lambda x: _core.concat([x] * 65), ValueError, "65 inputs"),
        (lambda x: _core.concat([x, x[0]]), ValueError, "must agree"),
        (lambda x: _core.max(x[:, :0], 1), ValueError, "no largest"),
        (lambda x: _core.argmax(x[:, :0]), ValueError, "empty axis"),
        (lambda x: x.item(), ValueError, "one element"),
        (lambda _: _core.divide(_core.tensor(1, "int32"), 0), ValueError, "by zero"),
        (lambda x: _core.gemm(x, x), ValueError, "inner axes"),
    ],
)
def test_refusals_say_why(call: object, error: type[Exception], says: str) -> None:
    assert callable(call)
    with pytest.raises(error, match=says):
        call(_core.zeros((2, 3)))


def test_the_smallest_integer_over_minus_one_wraps() -> None:
    for dtype, least in (("int32", -(2**31)), ("int64", -(2**63))):
        tensor = _core.tensor(least, dtype)  # type: ignore[arg-type]  # the two integer dtypes
        assert _core.divide(tensor, -1).item() == least


def test_tensors_are_not_made_by_their_type_and_not_subclassed() -> None:
    with pytest.raises(TypeError):
        _core.Tensor()
    with pytest.raises(TypeError):
        type("Mine", (_core.Tensor,), {})
    with pytest.raises(TypeError):
        _core.Tensor.extra = 1  # type: ignore[attr-defined]  # immutable on purpose


@pytest.mark.slow
def test_no_memory_is_lost() -> None:
    """The same work again and again: the interpreter's count of blocks stays where it is."""

    def work() -> None:
        x = _core.tensor([[1.0, 2.0], [3.0, 4.0]])
        memoryview((x @ x + 1).transpose()[0]).tolist()
        calls: tuple[Callable[[], object], ...] = (
            lambda: x.reshape(3),
            lambda: x[5],
            lambda: _core.map_model("/missing"),
        )
        for bad in calls:
            with pytest.raises((ValueError, IndexError, OSError)):
                bad()

    for _ in itertools.repeat(None, 20):
        work()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in itertools.repeat(None, 200):
        work()
    gc.collect()
    assert sys.getallocatedblocks() - before < 100


def test_threads_compute_at_once() -> None:
    x = _core.full((64, 64), 0.5)
    wrong: list[float] = []

    def work() -> None:
        wrong.extend(y for _ in range(50) if (y := (x @ x)[0, 0].item()) != 16.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not wrong


def test_levels_begin_with_the_reference() -> None:
    assert _core.levels()[0] == "portable"
    assert ("avx2" in _core.levels()) == ({"avx2", "fma"} <= set(_core.cpu_features()))
