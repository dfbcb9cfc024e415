"""Models from bytes whose plans another makes: sent along with the request, unless they are too large."""

from dataclasses import replace

import numpy as np
import pytest

from cloud.compiler.compile import compile_onnx
from device_agent.engine import model as engine_model
from device_agent.engine.model import parse_model
from device_agent.engine.planner import answer_request
from device_agent.engine.settings import PLAN_LIMITS
from tests.helpers.arrays import tensor_of
from tests.helpers.walle_models import MODELS, feeds_of


def test_a_large_model_is_planned_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    file = compile_onnx(MODELS["din"]())
    sent: list[bytes] = []

    def ask(request: bytes) -> bytes:
        sent.append(request)
        return answer_request("", request)

    feeds = {n: tensor_of(a) for n, a in feeds_of(MODELS["din"](), 0).items()}
    (one,) = parse_model(file, ask=ask).run(feeds)
    assert len(sent) == 1
    assert file in sent[0]
    limits = replace(PLAN_LIMITS, sent_bytes_max=len(file) - 1)
    monkeypatch.setattr(engine_model, "PLAN_LIMITS", limits)
    (other,) = parse_model(file, ask=ask).run(feeds)
    assert len(sent) == 1
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
