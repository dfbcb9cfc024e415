"""Reads text in a picture with PP-OCR's three networks: where lines are, which way up they are, what they say.

Everything around the networks is numpy: pictures as (height, width, 3) of uint8, red first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from tests.helpers.arrays import Array
from tests.helpers.wheel_models import Twin, wheel_file

TEXT_MIN = 0.3  # of a pixel's probability to belong to a line
PIXELS_MIN = 100  # of a line
UNCLIP = 1.6  # how far a line reaches around its core, by area over circumference
LINE_HEIGHT = 48
DIRECTION_WIDTH = 192
TOLERANCE = 5e-5


@dataclass(frozen=True, slots=True)
class Line:
    """A line that was found: its place (left, top, right, bottom), whether it stands on its head, and its text."""

    box: tuple[int, int, int, int]
    upside_down: bool
    text: str


class Reader:
    """The three networks."""

    def __init__(self) -> None:
        self._find, self._turn, self._read = (
            Twin(wheel_file("rapidocr", f"models/{name}.onnx").read_bytes(), TOLERANCE)
            for name in (
                "PP-OCRv6_det_small",
                "ch_ppocr_mobile_v2.0_cls_mobile",
                "PP-OCRv6_rec_small",
            )
        )
        said = self._read.session.get_modelmeta().custom_metadata_map["character"]
        self._characters = ["", *said.split("\n"), " "]  # the first says nothing

    def lines(self, picture: Image.Image) -> list[Line]:
        """The lines of a picture whose sides are multiples of 32, from the top."""
        (found,) = self._find(x=_input(picture))
        labels, _ = ndimage.label(found[0, 0] > TEXT_MIN)
        made = []
        for rows, columns in ndimage.find_objects(labels):
            height, width = rows.stop - rows.start, columns.stop - columns.start
            if height * width >= PIXELS_MIN:
                out = height * width * UNCLIP / (2 * (height + width))
                box = (columns.start - out, rows.start - out, columns.stop + out, rows.stop + out)
                made.append(self._line(picture, tuple(map(int, box))))
        return made

    def _line(self, picture: Image.Image, box: Sequence[int]) -> Line:
        left, top, right, bottom = box
        cut = picture.crop((left, top, right, bottom))
        upside_down = self._upside_down(cut)
        text = self._text(cut.rotate(180) if upside_down else cut)
        return Line((left, top, right, bottom), upside_down, text)

    def _upside_down(self, line: Image.Image) -> bool:
        part = _input(_of_height(line))[..., :DIRECTION_WIDTH]
        room = np.zeros((1, 3, LINE_HEIGHT, DIRECTION_WIDTH), np.float32)
        room[..., : part.shape[-1]] = part
        ((straight, turned),) = self._turn(x=room)[0]
        return bool(turned > straight)

    def _text(self, line: Image.Image) -> str:
        (said,) = self._read(x=_input(_of_height(line)))
        ids = said[0].argmax(axis=-1)
        before = np.concatenate([[-1], ids[:-1]])
        return "".join(self._characters[i] for i in ids[ids != before])


def _of_height(line: Image.Image) -> Image.Image:
    width = max(1, round(LINE_HEIGHT * line.width / line.height))
    return line.resize((width, LINE_HEIGHT), Image.Resampling.BILINEAR)


def _input(picture: Image.Image) -> Array:
    """(1, 3, height, width), blue first, from -1 to 1."""
    numbers = np.asarray(picture, np.float32)[..., ::-1] / 127.5 - 1
    return np.ascontiguousarray(numbers.transpose(2, 0, 1)[None])
