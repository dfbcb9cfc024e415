"""Models from bytes whose plans another makes: sent along with the request, unless they are too large."""

import numpy as np
import pytest

from cloud.compiler.compile import compile_onnx
from device_agent.engine.model import parse_model
from device_agent.engine.planner import answer_request
from device_agent.engine.settings import PLAN_LIMITS
from tests.helpers.arrays import tensor_of
from tests.helpers.graphs import node, onnx_model

WIDTH = 16


@pytest.mark.parametrize(("bytes_more", "asked"), [(0, 1), (64, 0)])
def test_a_large_model_is_planned_where_it_is(bytes_more: int, asked: int) -> None:
    """Just below the limit with header and graph, and just above it."""
    overhead = 4096
    rows = (PLAN_LIMITS.sent_bytes_max - (0 if bytes_more else overhead) + bytes_more) // (
        4 * WIDTH
    )
    weights = np.ones((rows, WIDTH), np.float32)
    file = compile_onnx(
        onnx_model([node("MatMul", "x w", "y")], {"x": (1, rows)}, ["y"], {"w": weights})
    )
    assert (len(file) > PLAN_LIMITS.sent_bytes_max) == (asked == 0)
    sent: list[bytes] = []

    def ask(request: bytes) -> bytes:
        sent.append(request)
        return answer_request("", request)

    (made,) = parse_model(file, ask=ask).run([tensor_of(np.ones((1, rows), np.float32))])
    assert len(sent) == asked
    assert all(file in request for request in sent)
    np.testing.assert_allclose(np.asarray(made), rows, rtol=1e-5)
