"""A model: a network with fixed weights and preprocessing."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from headstart.spec.noun import Noun

__all__ = ["Interpolation", "Model", "Pool", "UpstreamAccuracy", "Weights"]

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PerChannel = tuple[float, float, float]
Pool = Literal["token", "mean"]
# Pillow's filters by name.
Interpolation = Literal["bicubic", "bilinear", "nearest", "lanczos", "box", "hamming"]


class UpstreamAccuracy(Noun):
    """How well the network does on the task that it was pretrained for.

    `weights` names other weights of the same architecture, where they reached it and not these; `n`
    is the number of images, where it is known.
    """

    dataset: str = "ImageNet-1k validation"
    metric: str = "top-1"
    value: Annotated[float, Field(gt=0, lt=1, description="proportion, not percent")]
    weights: str | None = None
    n: PositiveInt | None = None
    source: Annotated[str, Field(min_length=1)]


class Weights(Noun):
    """Where the weights come from, and the digest of the file that holds them.

    `locator` says how to find them: ``hf:REPOSITORY`` (a repository of the Hugging Face hub),
    ``https://...``, ``file:PATH``, ``package:PACKAGE/PATH`` (inside an installed Python package)
    or ``random:SEED``. `sha256` is None where nobody has published the digest: then the ledger of
    this machine holds that of the file that was used first.
    """

    locator: str
    sha256: Sha256 | None = None

    @property
    def random_seed(self) -> int | None:
        """The seed of weights that were never trained; None for trained ones."""
        scheme, _, seed = self.locator.partition(":")
        return int(seed) if scheme == "random" else None

    @property
    def identity(self) -> str:
        """The digest, or where none is known what stands for it."""
        return self.sha256 or self.locator


class Model(Noun):
    """A network with fixed weights and preprocessing.

    `source` names the adapter that builds it; `architecture` is the name in that library. Images
    are resized to `input_size` pixels by `interpolation`, scaled to [0, 1], then normalised by
    `mean` and `std` per RGB channel. `feature_dim` is the width of the penultimate layer,
    `parameters` the number of parameters without the classifier, `multiply_adds` what an image
    costs. `head` is the path of the
    classifier among the submodules, where the adapter does not find it; `pool` how a transformer's
    tokens become one feature: its class token or the mean of its patches, None for its own way.
    `part` is which of the networks in its file of weights is meant, where there are several.

    Two fields say how it is trained. With `bn_scale` False the scales of batch norms are 1 and are
    not learned; `dropout` is the rate before the classifier while training, None for the
    architecture's own. The tag ``auxiliary_head`` with the value ``"kept"`` keeps the auxiliary
    classifiers that the architecture has for training.
    """

    name: str
    source: str
    architecture: str
    weights: Weights
    input_size: PositiveInt
    interpolation: Interpolation
    mean: PerChannel
    std: PerChannel
    feature_dim: PositiveInt
    parameters: PositiveInt | None = None
    multiply_adds: PositiveInt | None = None
    head: str | None = None
    pool: Pool | None = None
    part: str | None = None
    bn_scale: bool = True
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    upstream: tuple[UpstreamAccuracy, ...] = ()
    tags: dict[str, str] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """All that may change a feature, and nothing else: not its name, not its accuracy."""
        chosen = {name: getattr(self, name) for name in ("head", "pool", "part")}
        chosen = {name: value for name, value in chosen.items() if value}
        return {**self.untrained_identity, **chosen, "weights": self.weights.identity}

    @property
    def untrained_identity(self) -> dict[str, Any]:
        """All of a network that training from scratch depends on: its weights are not."""
        fields = {"source", "architecture", "input_size", "interpolation", "mean", "std"}
        return {**self.model_dump(mode="json", include=fields), **self.switches}

    @property
    def keeps_auxiliary(self) -> bool:
        """Whether auxiliary classifiers are there for training."""
        return self.tags.get("auxiliary_head") == "kept"

    @property
    def switches(self) -> dict[str, Any]:
        """How it is trained, where that is not the architecture's own way.

        What is as usual is left out, so that a key from before there were switches stays true.
        """
        switched: dict[str, Any] = {} if self.bn_scale else {"bn_scale": False}
        if self.dropout is not None:
            switched["dropout"] = self.dropout
        return {**switched, "auxiliary_head": "kept"} if self.keeps_auxiliary else switched

    @property
    def weights_name(self) -> str:
        """The weights in a word: ``random``, their published tag, or the start of their digest."""
        if self.weights.random_seed is not None:
            return "random"
        tag = self.tags.get("weights_tag")
        if tag and not self.weights.locator.startswith("file:"):
            return tag
        return self.weights.sha256[:12] if self.weights.sha256 else self.weights.locator

    @property
    def upstream_accuracy(self) -> float | None:
        """The first upstream accuracy of these weights (a proportion), None where none is known."""
        return next((known.value for known in self.upstream if known.weights is None), None)
