"""How a decoded image becomes the input of a network: plain data, the same for every runtime."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, cast, get_args

from pydantic import ConfigDict, Field, FiniteFloat, PositiveInt, TypeAdapter

from headstart.errors import ExportError
from headstart.models.model_catalogue import MOST_PIXELS
from headstart.spec import Decoding, Interpolation, Model, Trial, Value

__all__ = ["ImageInput", "View"]

# Of features: the whole image, or a centre crop, by Pillow. Of training: the full image, or its
# central 87.5 %, by torch, of an image that was made smaller first.
View = Literal["whole", "center-crop", "full", "central"]
Scale = Annotated[FiniteFloat, Field(gt=0)]


@dataclass(frozen=True)
class ImageInput:
    """From a decoded image to the input of a network.

    Parameters
    ----------
    size
        Side of the square input, in pixels.
    interpolation
        Filter of antialiased resizing, Pillow's name.
    mean, std
        Normalization of each RGB channel, for pixels in [0, 1].
    view
        Which part of the image is resized to the input, and how.
    side
        Shorter side that a larger image is reduced to first (Lanczos), in pixels; None for views of
        features.
    decoding
        How the bytes of a file become an image.
    """

    # A record with a field that is unknown here would be another input.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    size: Annotated[PositiveInt, Field(le=MOST_PIXELS)]
    interpolation: Interpolation
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    std: tuple[Scale, Scale, Scale]
    view: View
    side: PositiveInt | None = None
    decoding: Decoding = field(default_factory=Decoding)

    @classmethod
    def of(cls, model: Model, view: str, side: int | None, decoding: Decoding) -> Self:
        """Return that of a model, as a method of transfer used it.

        Raises
        ------
        ExportError
            The method has a view that is not known here (code ``export.view_unknown``).
        """
        if view not in get_args(View):
            raise ExportError(
                f"'{model.name}' was measured on a view of images that is not known here: '{view}'",
                code="export.view_unknown",
                view=view,
            )
        known = cast(View, view)
        return cls(
            model.input_size, model.interpolation, model.mean, model.std, known, side, decoding
        )

    @classmethod
    def of_trial(cls, trial: Trial, chosen: dict[str, Value]) -> Self:
        """Return that of a trial's final network, given what was chosen on validation."""
        view = str(chosen.get("crop") or getattr(trial.setting, "resize", "whole"))
        side = getattr(trial.setting, "side", None)
        return cls.of(trial.model, view, side, trial.dataset.decoding)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return that of a record that `record` made; ValueError for any other."""
        return cast(Self, _adapter().validate_python(dict(record)))

    @property
    def record(self) -> dict[str, Any]:
        """The same as JSON."""
        decoding = self.decoding.model_dump(mode="json", exclude_defaults=True)
        return {**asdict(self), "decoding": decoding}

    @property
    def text(self) -> str:
        """For a person, in one sentence."""
        square = f"{self.size} x {self.size} pixels ({self.interpolation}, antialiased)"
        first = (
            f"a shorter side over {self.side} pixels is first reduced to {self.side} (Lanczos); "
            if self.side
            else ""
        )
        part = {
            "whole": "the whole image is resized to",
            "full": "the whole image is resized to",
            "center-crop": "its central square is resized to",
            "central": "its central 87.5 % are resized to",
        }[self.view]
        mean, std = (", ".join(f"{value:g}" for value in each) for each in (self.mean, self.std))
        return f"{first}{part} {square}, divided by 255, normalized by mean {mean} and std {std}"


@cache
def _adapter() -> TypeAdapter[ImageInput]:
    return TypeAdapter(ImageInput)
