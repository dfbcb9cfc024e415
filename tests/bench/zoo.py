"""The models that are measured whole, with inputs: Walle's seven, the ONNX project's light ones, trained ones."""

from collections.abc import Callable
from functools import partial

import numpy as np

from tests.bench.engines import Feeds
from tests.helpers.arrays import Array
from tests.helpers.detector import SIZE, yolov8n
from tests.helpers.onnx_cases import array_of, data_cases
from tests.helpers.sentences import minilm
from tests.helpers.walle_models import MODELS, feeds_of
from tests.helpers.wheel_models import wheel_file

TURNS = 4  # different inputs of one model, taken in turn
TOKENS = 32

type Made = tuple[bytes, list[Feeds]]


def _walle(name: str) -> Made:
    data = MODELS[name]()
    return data, [feeds_of(data, seed) for seed in range(TURNS)]


def _light(name: str) -> Made:
    (case,) = (case for case in data_cases("light") if case.name == name)
    weights = {tensor.name for tensor in case.model.graph.initializer}
    names = [port.name for port in case.model.graph.input if port.name not in weights]
    one = dict(zip(names, map(array_of, case.inputs), strict=True))
    return case.model.SerializeToString(), [
        {port: _scaled(array, turn) for port, array in one.items()} for turn in range(TURNS)
    ]


def _scaled(array: Array, turn: int) -> Array:
    return np.asarray(array * np.float32(1 + turn / 8), array.dtype)


def _noise(data: bytes, *shapes: tuple[str, tuple[int, ...]]) -> Made:
    turns = [np.random.default_rng(seed) for seed in range(TURNS)]
    return data, [
        {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes}
        for random in turns
    ]


def _ocr(file: str, *shape: int) -> Made:
    return _noise(wheel_file("rapidocr", f"models/{file}.onnx").read_bytes(), ("x", shape))


def _silero() -> Made:
    data = wheel_file("silero_vad", "data/silero_vad_openvino_16k.onnx").read_bytes()
    return _noise(data, ("input", (1, 576)), ("state", (2, 1, 128)))


def _minilm() -> Made:
    feeds = []
    for seed in range(TURNS):
        ids = np.random.default_rng(seed).integers(1000, 20_000, (1, TOKENS))
        feeds.append({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    return minilm(), feeds


ZOO: dict[str, Callable[[], Made]] = {
    **{name: partial(_walle, name) for name in MODELS},
    "yolov8n": lambda: _noise(yolov8n(), ("images", (1, 3, SIZE, SIZE))),
    **{
        name: partial(_light, name)
        for name in (
            "light_bvlc_alexnet", "light_densenet121", "light_inception_v1", "light_inception_v2", "light_resnet50",
            "light_shufflenet", "light_squeezenet", "light_vgg19", "light_zfnet512",
        )
    },
    "ppocr_det": partial(_ocr, "PP-OCRv6_det_small", 1, 3, 256, 640),
    "ppocr_rec": partial(_ocr, "PP-OCRv6_rec_small", 1, 3, 48, 320),
    "ppocr_cls": partial(_ocr, "ch_ppocr_mobile_v2.0_cls_mobile", 1, 3, 48, 192),
    "silero_vad": _silero,
    "minilm": _minilm,
}  # fmt: skip
