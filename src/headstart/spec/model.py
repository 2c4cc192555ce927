"""A network with fixed weights and preprocessing."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from headstart.spec.noun import Noun

__all__ = ["Model", "UpstreamAccuracy", "Weights"]

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PerChannel = tuple[float, float, float]


class UpstreamAccuracy(Noun):
    """How well the network does on the task that it was pretrained for."""

    dataset: str = "ImageNet-1k validation"
    metric: str = "top-1"
    value: Annotated[float, Field(gt=0, lt=1, description="proportion, not percent")]
    source: Annotated[str, Field(min_length=1)]


class Weights(Noun):
    """Where the weights come from, and the digest of the file that holds them."""

    locator: str
    sha256: Sha256


class Model(Noun):
    """A network with fixed weights and preprocessing.

    `source` names the adapter that builds it; `architecture` is the name in that library. Images
    are resized to `input_size` pixels by `interpolation`, scaled to [0, 1], then normalised by
    `mean` and `std` per RGB channel. `feature_dim` is the width of the penultimate layer.
    """

    name: str
    source: str
    architecture: str
    weights: Weights
    input_size: PositiveInt
    interpolation: Literal["bicubic", "bilinear"]
    mean: PerChannel
    std: PerChannel
    feature_dim: PositiveInt
    upstream: tuple[UpstreamAccuracy, ...] = ()
    tags: dict[str, str] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """All that may change a feature, and nothing else: not its name, not its accuracy."""
        fields = {"source", "architecture", "input_size", "interpolation", "mean", "std"}
        return {**self.model_dump(mode="json", include=fields), "weights": self.weights.sha256}

    @property
    def upstream_accuracy(self) -> float | None:
        """The first upstream accuracy (a proportion), None where none is known."""
        return self.upstream[0].value if self.upstream else None
