"""Preprocessing of a hub repository, as fields of a model.

Whatever a processor of transformers does to a pixel is one multiplication and one addition per
channel, perhaps with the channels in reverse: ``rescale_factor``, an offset, ``image_mean`` and
``image_std`` fold into one mean and one standard deviation of pixels in [0, 1]. What was read from
the files is then compared with the library's own processor on images of one colour, so that a step
that is not understood here is an error and not another number.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.errors import ModelError
from headstart.models.model_source import IMAGENET_MEAN, IMAGENET_STD
from headstart.spec import Interpolation

__all__ = ["PROCESSOR", "Preprocessing", "fixed_size", "of_timm", "of_transformers"]

PROCESSOR = "preprocessor_config.json"
# Pillow's numbers for its filters, which transformers writes.
FILTERS: Mapping[int, Interpolation] = {
    0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming",
}  # fmt: skip
NAMED = frozenset(FILTERS.values())
# Pixels of a side: larger ones are mistakes, and would take all memory.
MOST = 2048
SIDES = ("height", "width", "shortest_edge", "longest_edge", "max_height", "max_width")
# These change pixels; a processor that does not know them passes over them without a word.
CHANGING = ("do_flip_channel_order", "do_color_quantize", "do_thumbnail", "do_align_long_axis",
            "rescale_offset", "do_image_splitting", "do_pan_and_scan")  # fmt: skip
# Colours that the library's processor is tried on: the ends of the scale, then channels apart.
COLOURS = ((0, 0, 0), (255, 255, 255), (64, 128, 192))
SIDE_TRIED = 64
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image before a network sees it.

    Parameters
    ----------
    input_size
        Pixels of the square that the network takes.
    interpolation
        Filter for resizing.
    mean, std
        Mean and standard deviation of red, green and blue, for pixels in [0, 1].
    bgr
        Whether the network takes blue first.
    note
        What had to be assumed; empty if nothing.
    """

    input_size: int
    interpolation: Interpolation
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    bgr: bool = False
    note: str = ""

    @property
    def grey(self) -> "Preprocessing":
        """The same for a network of one channel: the mean of three means, as timm takes it."""
        mean, std = sum(self.mean) / 3, sum(self.std) / 3
        return replace(self, mean=(mean,) * 3, std=(std,) * 3, bgr=False)

    @property
    def facts(self) -> dict[str, Any]:
        """The fields of `headstart.spec.Model`."""
        return {
            "input_size": self.input_size,
            "interpolation": self.interpolation,
            "mean": self.mean,
            "std": self.std,
        }


def of_timm(config: Mapping[str, Any]) -> Preprocessing:
    """Read the preprocessing that a repository of timm has in its ``config.json``.

    Raises
    ------
    ModelError
        A field with a value that is not supported; it is named.
    """
    published = config.get("pretrained_cfg", config)
    if not isinstance(published, Mapping):
        raise _refused("pretrained_cfg", published, "an object")
    sides = published.get("input_size") or (3, 224, 224)
    if not isinstance(sides, Sequence) or len(sides) != 3 or isinstance(sides, str):
        raise _refused("input_size", sides, "[channels, height, width]")
    named = published.get("interpolation") or "bicubic"
    if named not in NAMED:
        raise _refused("interpolation", named, f"one of {', '.join(sorted(NAMED))}")
    return Preprocessing(
        _square(_side("input_size", sides[1]), _side("input_size", sides[2])),
        named,
        _channels("mean", published.get("mean") or IMAGENET_MEAN),
        _channels("std", published.get("std") or IMAGENET_STD, positive=True),
    )


def of_transformers(
    processor_config: Mapping[str, Any] | None, config: Mapping[str, Any]
) -> Preprocessing:
    """Read the preprocessing of a repository of transformers.

    Parameters
    ----------
    processor_config
        Content of ``preprocessor_config.json``; None if the repository has none.
    config
        Content of ``config.json``: the kind of network has a processor of its own, and a size.

    Raises
    ------
    ModelError
        A field with a value that is not supported, or a processor that does more than resize,
        rescale, reorder channels and normalise; the field or the processor is named.
    """
    fixed = fixed_size(config)
    if processor_config is None:
        note = f"no {PROCESSOR}: ImageNet's mean and std are assumed (?mean= and ?std= set them)"
        return Preprocessing(fixed or 224, "bilinear", note=note)
    checked = _checked(processor_config)
    kind = _processor(processor_config, config)
    known = set(getattr(kind.valid_kwargs, "__annotations__", ()))
    for field in CHANGING:
        if checked.get(field) and field not in known:
            raise _refused(field, checked[field], f"a field that {kind.__name__} knows")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            processor, seen, side = _run(kind, checked)
    except ModelError:
        raise
    # What the library's processors raise where their fields do not fit is not one type.
    except Exception as error:
        reason = " ".join((str(error) or type(error).__name__).split())[:200]
        raise ModelError(
            f"{PROCESSOR}: {kind.__name__} of transformers fails with it: {reason}",
            code="model.preprocessing_invalid", processor=kind.__name__,
        ) from error  # fmt: skip
    if "size" not in processor_config and "crop_size" not in processor_config:
        side = fixed or side
    elif not processor.do_resize and not getattr(processor, "do_center_crop", False):
        # What is not resized there has the size that the network is made for here.
        sides = dict(processor.size) if processor.size is not None else {}
        side = fixed or next((int(sides[name]) for name in SIDES if sides.get(name)), side)
    resample = getattr(processor, "resample", None)
    code = 2 if resample is None else int(getattr(resample, "value", resample))
    mean, std, bgr = _fitted(processor, seen)
    return Preprocessing(side, FILTERS[code], mean, std, bgr)


def _refused(field: str, value: object, expected: str) -> ModelError:
    return ModelError(
        f"unsupported preprocessing: {field} is {str(value)[:60]!r}, expected {expected}",
        code="model.preprocessing_unsupported", field=field, found=value,
    )  # fmt: skip


def _square(height: int, width: int) -> int:
    if height != width:
        raise _refused("size", f"{height} x {width}", "a square")
    return height


def _side(field: str, value: object) -> int:
    """Check a number of pixels."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise _refused(field, value, f"1 to {MOST} pixels")
    return value


def _channels(field: str, value: Any, *, positive: bool = False) -> tuple[float, float, float]:
    """Check a number per channel; one number is that of all three."""
    listed = list(value) if isinstance(value, list | tuple) else [value]
    usable = all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)
        and abs(v) < 1e6 and (v > 0 or not positive)
        for v in listed
    )  # fmt: skip
    if len(listed) not in (1, 3) or not usable:
        expected = "a positive number" if positive else "a number"
        raise _refused(field, value, f"{expected}, or one per channel")
    red, green, blue = listed * 3 if len(listed) == 1 else listed
    return float(red), float(green), float(blue)


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Check the fields that a processor computes with; one number stands for all channels."""
    checked = {name: value for name, value in fields.items() if value is not None}
    for field in ("size", "crop_size", "pad_size"):
        if field in checked:
            _check_size(field, checked[field])
    for field in ("image_mean", "image_std"):
        if field in checked:
            values = _channels(field, checked[field], positive=field == "image_std")
            checked[field] = list(values)
    factor = checked.get("rescale_factor", 1)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < 1e6:
        raise _refused("rescale_factor", factor, "a positive number")
    code = checked.get("resample", 0)
    if isinstance(code, bool) or not isinstance(code, int) or code not in FILTERS:
        raise _refused("resample", code, "Pillow's number of a filter, 0 to 5")
    for field, value in checked.items():
        if field.startswith("do_") and not isinstance(value, bool):
            raise _refused(field, value, "true or false")
    return checked


def _check_size(field: str, value: object) -> None:
    """Check any form of a size: a number, [height, width], or sides by name."""
    if isinstance(value, dict):
        if not value or not set(value) <= set(SIDES):
            raise _refused(field, value, f"a number, or some of {', '.join(SIDES)}")
        sides = [side for side in value.values() if side is not None]
    else:
        sides = list(value) if isinstance(value, list) else [value]
    if not 1 <= len(sides) <= 2:
        raise _refused(field, value, "a number, or [height, width]")
    for side in sides:
        _side(field, side)


def fixed_size(config: Mapping[str, Any]) -> int | None:
    """Read the size that a network is made for; None if it is made for any."""
    inner = [config.get(name) for name in ("vision_config", "backbone_config")]
    known = [part.get("image_size") for part in (config, *inner) if isinstance(part, Mapping)]
    size = next(filter(None, known), None)
    if not size:
        return None
    if isinstance(size, dict):
        size = [size.get("height"), size.get("width")]
    if isinstance(size, list | tuple):
        sides = [_side("image_size", side) for side in size]
        return _square(sides[0], sides[-1]) if sides else None
    return _side("image_size", size)


def _processor(processor_config: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
    """Find the library's class: the one that is named, or that of the kind of network."""
    from transformers.models.auto import image_processing_auto as auto

    named = (
        processor_config.get("image_processor_type")
        or processor_config.get("feature_extractor_type")
        or ""
    )
    name = str(named).replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast")
    if name in ("", "BaseImageProcessor", "ImageProcessor"):
        kinds = auto.IMAGE_PROCESSOR_MAPPING_NAMES.get(str(config.get("model_type")), {})
        name = kinds.get("torchvision") or "ViTImageProcessor"
    kind = auto.get_image_processor_class_from_name(name)
    if kind is None or not hasattr(kind, "valid_kwargs"):
        raise ModelError(
            f"{PROCESSOR}: the image processor {str(named)[:60]!r} is not one of transformers "
            "(code of a repository is never executed): remove the file and give ?size=, ?mean= and "
            "?std=",
            code="model.processor_unknown", processor=named,
        )  # fmt: skip
    return kind


def _run(kind: Any, checked: dict[str, Any]) -> tuple[Any, Floats, int]:
    """Make a processor of its fields and try it on images of one colour."""
    fields = dict(checked)
    # A crop that nobody wrote down is a default of the class, not of the network.
    if "crop_size" not in fields and not fields.get("do_center_crop"):
        fields["do_center_crop"] = False
    try:
        processor = kind.from_dict(fields)
        return processor, *_tried(processor)
    except Exception:
        size = fields.get("size")
        if not isinstance(size, dict) or "height" not in size or size["height"] != size["width"]:
            raise
        # Some take the shorter side alone, which is the same of a square.
        processor = kind.from_dict({**fields, "size": {"shortest_edge": size["height"]}})
        return processor, *_tried(processor)


def _tried(processor: Any) -> tuple[Floats, int]:
    """Run the library's processor on images of one colour: what becomes of each, and the side."""
    from PIL import Image

    rows, side = [], 0
    for colour in COLOURS:
        image = Image.new("RGB", (SIDE_TRIED, SIDE_TRIED), colour)
        answer = processor(images=image, return_tensors="pt", resample=2)
        pixels = answer.get("pixel_values") if hasattr(answer, "get") else None
        shape = tuple(getattr(pixels, "shape", ()))
        if len(shape) != 4 or shape[:2] != (1, 3):
            raise ModelError(
                f"{PROCESSOR}: {type(processor).__name__} gives no image of three channels (found "
                f"{'x'.join(map(str, shape)) or ', '.join(map(str, answer))}): unsupported",
                code="model.processor_unsupported", processor=type(processor).__name__,
            )  # fmt: skip
        side = _square(*shape[2:])
        assert pixels is not None  # noqa: S101 - its shape was looked at
        rows.append(pixels[0, :, side // 2, side // 2].double().numpy())
    return np.array(rows), side


def _fitted(processor: Any, seen: Floats) -> tuple[tuple[float, ...], tuple[float, ...], bool]:
    """Return mean, std and whether blue comes first: as fields say, else as the processor does."""
    factor = float(processor.rescale_factor or 0) if processor.do_rescale else 1.0
    scale = 255 * factor
    if abs(scale - 1) < 1e-6:  # the fraction 1/255 is written with more or fewer digits
        scale = 1.0
    normalises = bool(processor.do_normalize)
    mean = _channels("image_mean", processor.image_mean) if normalises else (0.0,) * 3
    std = _channels("image_std", processor.image_std, positive=True) if normalises else (1.0,) * 3
    read = (
        tuple(value / scale for value in mean) if scale != 1 else mean,
        tuple(value / scale for value in std) if scale != 1 else std,
    )
    gain = seen[1] - seen[0]
    found = [
        tuple(float(f"{value:.7g}") for value in -seen[0] / np.where(gain == 0, np.nan, gain)),
        tuple(float(f"{value:.7g}") for value in 1 / np.where(gain == 0, np.nan, gain)),
    ]
    for means, stds in (read, found):
        for bgr in (False, True):
            if _gives(means, stds, bgr, seen):
                order = slice(None, None, -1) if bgr else slice(None)
                return means[order], stds[order], bgr
    raise ModelError(
        f"{PROCESSOR}: what {type(processor).__name__} does to colours is not supported",
        code="model.processor_unsupported", processor=type(processor).__name__,
    )  # fmt: skip


def _gives(means: tuple[float, ...], stds: tuple[float, ...], bgr: bool, seen: Floats) -> bool:
    """Whether a mean and a std per channel of the input explain what the processor gave."""
    colours = np.array(COLOURS, dtype=float)[:, :: -1 if bgr else 1] / 255
    if not np.isfinite([means, stds]).all() or not np.all(np.array(stds) > 0):
        return False
    expected = (colours - np.array(means)) / np.array(stds)
    # float32, relative to the range of the input.
    return bool(np.abs(expected - seen).max() <= 1e-4 * max(1.0, np.abs(seen).max()))
