"""A backbone of transformers as a classifier: one feature per image, and a new linear layer.

The feature is what the documentation of the network calls its pooled output or its image embedding.
Networks that have none give the class token after the last norm; those without a class token the
mean of the patches.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn

from headstart.errors import ModelError
from headstart.spec import Pool

__all__ = ["FAMILIES", "Family", "InputHook", "Pooled", "family_of", "has_pooler", "is_of_pooler"]

Feature = Literal["pooler", "token", "mean", "embedding", "map"]
# Grey as Pillow makes it (ITU-R 601).
LUMA = (0.299, 0.587, 0.114)
POOLER = "pooler"
DESCRIBED: Mapping[Feature, str] = {
    "pooler": "pooled output",
    "token": "class token",
    "mean": "mean of the patches",
    "embedding": "image embedding",
    "map": "mean of the last map",
}


@dataclass(frozen=True)
class Family:
    """Where networks of one ``model_type`` have their feature.

    Parameters
    ----------
    feature
        ``"pooler"``: ``pooler_output``; ``"token"``: the class token; ``"mean"``: the mean of the
        patches, or of a map; ``"embedding"``: ``get_image_features``; ``"map"``: the mean of the
        last of ``feature_maps``.
    n_class
        Class tokens, which stand before the patches; the first one is taken.
    registers
        Field of the configuration with the number of tokens between these and the patches.
    after
        Field with the number of tokens behind the patches.
    channels_last
        Whether its maps are (n, height, width, channels).
    renewed
        Whether releases before 0.5 took another feature: what they stored is not read.
    """

    feature: Feature
    n_class: int = 0
    registers: str = ""
    after: str = ""
    channels_last: bool = False
    renewed: bool = False


def _families() -> dict[str, Family]:
    """List the families that were compared with the library's own output (tests/models)."""
    pooled = Family("pooler")
    clip = Family("pooler", 1, renewed=True)
    families = dict.fromkeys(
        ("bit", "convnext", "convnextv2", "dinat", "dinov3_convnext", "donut-swin", "efficientnet",
         "focalnet", "levit", "maskformer-swin", "mobilenet_v1", "mobilenet_v2", "mobilevit",
         "mobilevitv2", "regnet", "resnet", "siglip_vision_model", "swin", "swinv2", "textnet"),
        pooled,
    )  # fmt: skip
    families |= dict.fromkeys(
        ("clip_vision_model", "chinese_clip_vision_model", "mlcd", "mlcd_vision_model"), clip
    )
    families |= dict.fromkeys(
        ("align", "aimv2", "altclip", "blip", "chinese_clip", "clip", "clipseg", "groupvit",
         "metaclip_2", "owlv2", "owlvit", "siglip", "tipsv2"), Family("embedding"),
    )  # fmt: skip
    families |= dict.fromkeys(
        ("glpn", "ijepa", "poolformer", "pvt_v2", "sam_hq_vision_model", "sam_vision_model",
         "sam3_vision_model", "segformer", "swiftformer", "swin2sr", "vitdet"), Family("mean"),
    )  # fmt: skip
    families |= dict.fromkeys(
        ("beit", "data2vec-vision", "dpt", "pvt", "vit", "vit_msn"), Family("token", 1)
    )
    families |= dict.fromkeys(
        ("hgnet_v2", "pp_lcnet", "pp_lcnet_v3", "pp_lcnet_v4", "rf_detr_dinov2", "rt_detr_resnet"),
        Family("map"),
    )
    registers = "num_register_tokens"
    return families | {
        "aimv2_vision_model": Family("pooler", renewed=True),
        "cvt": Family("token", renewed=True),
        "deit": Family("token", 2),
        "dinov2": Family("pooler", 1),
        "dinov2_with_registers": Family("pooler", 1, registers),
        "dinov3_vit": Family("pooler", 1, registers),
        "hiera": Family("mean"),
        "pixio": Family("pooler", 8, renewed=True),
        "sam2_vision_model": Family("mean", channels_last=True, renewed=True),
        "sapiens2": Family("pooler", 1, registers),
        "tipsv2_vision_model": Family("pooler", 1, registers),
        "vit_mae": Family("token", 1, renewed=True),
        "yolos": Family("token", 1, after="num_detection_tokens"),
    }


FAMILIES: Mapping[str, Family] = _families()


def family_of(config: Any) -> Family:
    """Return where networks of a configuration have their feature.

    Raises
    ------
    ModelError
        Nobody has looked at this kind of network yet, or it has no image embedding.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise ModelError(
            f"'{config.model_type}' of transformers is not supported as a backbone: which of its "
            "outputs describes an image is not known (docs/models.md lists those that are)",
            code="model.backbone_unsupported", found=config.model_type,
        )  # fmt: skip
    if family.n_class and config.model_type == "pixio":
        return Family(family.feature, int(config.n_cls_tokens), renewed=True)
    if config.model_type == "aimv2_vision_model" and not config.use_head:
        return Family("mean", renewed=True)
    if config.model_type == "siglip_vision_model" and not getattr(config, "vision_use_head", True):
        return Family("mean")
    if config.model_type == "cvt" and not config.cls_token[-1]:
        return Family("mean")
    return family


class InputHook:
    """What a network is given in place of normalised RGB images, before its forward pass.

    Parameters
    ----------
    bgr
        Whether it takes blue first.
    channels
        3, or 1 for grey: red, green and blue are then mixed as Pillow does.
    size
        Pixels of the side that it was made for; None if it takes any.
    interpolates
        Whether its forward pass resamples position embeddings for images of another size.
    """

    def __init__(self, bgr: bool, channels: int, size: int | None, interpolates: bool) -> None:
        self.bgr, self.channels, self.size, self.interpolates = bgr, channels, size, interpolates

    def __call__(
        self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(n, 3, size, size) normalised RGB -> the network's arguments."""
        images = args[0]
        if self.bgr:
            images = images.flip(1)
        if self.channels == 1:
            images = sum(images[:, i : i + 1] * share for i, share in enumerate(LUMA))
        if self.interpolates and self.size not in (None, images.shape[-1]):
            kwargs = {**kwargs, "interpolate_pos_encoding": True}
        return (images, *args[1:]), kwargs

    def attach(self, module: nn.Module) -> None:
        """Register this as a forward pre-hook."""
        module.register_forward_pre_hook(self, with_kwargs=True)


class Pooled(nn.Module):
    """A backbone that gives tokens or maps, pooled, with a classifier that is not trained.

    Parameters
    ----------
    model
        A model of transformers whose input is ``pixel_values``. It is changed: a pooler that is not
        used and a text tower are taken out, masking of patches is switched off.
    pool
        ``"token"``, ``"mean"``; None takes the feature of its family.
    n_classes
        Number of outputs of the classifier.
    width
        Width of the feature; 1 if `pooled` alone is to be run.
    pooler
        Whether a pooler with parameters came with the weights: one that did not is untrained.

    Raises
    ------
    ModelError
        The class token is asked for and there is none, or `pool` for an image embedding.
    """

    def __init__(
        self, model: Any, pool: Pool | None, n_classes: int, width: int = 1, *, pooler: bool = True
    ) -> None:
        super().__init__()
        family = family_of(model.config)
        kind = type(model).__name__
        if pool and family.feature == "embedding":
            raise ModelError(
                f"{kind} has an image embedding: leave ?pool= out", code="model.pool_unsupported"
            )
        if pool == "token" and not family.n_class and model.config.model_type != "cvt":
            raise ModelError(
                f"{kind} has no class token: leave ?pool=token out, or say mean",
                code="model.pool_unsupported",
            )
        self.family = family
        self.feature: Feature = pool or family.feature
        self.lacks_pooler = has_pooler(model) and not pooler
        if has_pooler(model):
            if pooler and pool is None:
                self.feature = "pooler"
            else:
                model.pooler = None
        elif pool == "token" and family.feature == "pooler":
            # The class token behind the last norm: it need not be among the hidden states.
            self.feature = "pooler"
        if family.feature == "embedding":
            _without_text(model)
        # What makes the network random in evaluation, and is switched off.
        self.switched_off = ""
        if model.config.model_type == "vit_mae":
            ratio = model.config.mask_ratio
            self.switched_off = f"masking of patches (mask_ratio {ratio:g})" if ratio else ""
            model.config.mask_ratio = 0.0
        self.model = model
        self.classifier = nn.Linear(width, n_classes)

    @property
    def described(self) -> str:
        """What the feature is, in words."""
        lost = " (the weights have no pooler)" if self.lacks_pooler else ""
        return DESCRIBED[self.feature] + lost

    def drop_pooler(self) -> None:
        """Remove the pooler, which did not come with the weights.

        Raises
        ------
        ModelError
            The feature would have another width.
        """
        if self.classifier.in_features != self.model.config.hidden_size:
            raise ModelError(
                f"the weights lack the pooler of {type(self.model).__name__}: say ?pool=token",
                code="model.pooler_missing",
            )
        self.model.pooler, self.feature, self.lacks_pooler = None, self.family.feature, True

    def forward(self, images: torch.Tensor, interpolate_pos_encoding: bool = False) -> torch.Tensor:
        """(n, channels, size, size) normalised images -> (n, classes)."""
        features = self.pooled(images, interpolate_pos_encoding)
        return cast(torch.Tensor, self.classifier(features))

    def pooled(self, images: torch.Tensor, interpolate_pos_encoding: bool = False) -> torch.Tensor:
        """(n, channels, size, size) normalised images -> (n, width)."""
        options: dict[str, Any] = {"pixel_values": images}
        if interpolate_pos_encoding:
            options["interpolate_pos_encoding"] = True
        if self.family.feature == "embedding":
            answer = self.model.get_image_features(**options)
            return cast(torch.Tensor, getattr(answer, "pooler_output", answer))
        if self.model.config.model_type == "vit_mae":
            options["noise"] = self._order(images)
        answer = self.model(**options)
        if self.feature == "map":
            return cast(torch.Tensor, answer.feature_maps[-1].mean((2, 3)))
        if self.feature == "pooler":
            embeds = getattr(answer, "image_embeds", None)
            return cast(torch.Tensor, answer.pooler_output.flatten(1) if embeds is None else embeds)
        if self.feature == "token" and self.model.config.model_type == "cvt":
            return cast(torch.Tensor, answer.cls_token_value[:, 0])
        values = answer.last_hidden_state
        if values.ndim == 4:
            places = (1, 2) if self.family.channels_last else (2, 3)
            return cast(torch.Tensor, values.mean(places))
        if self.feature == "token":
            return cast(torch.Tensor, values[:, 0])
        config, family = self.model.config, self.family
        first = family.n_class + (getattr(config, family.registers) if family.registers else 0)
        last = values.shape[1] - (getattr(config, family.after) if family.after else 0)
        return cast(torch.Tensor, values[:, first:last].mean(1))

    def _order(self, images: torch.Tensor) -> torch.Tensor:
        """(n, patches) numbers that rise: MAE shuffles patches by their order."""
        patch = self.model.config.patch_size
        n = (images.shape[-2] // patch) * (images.shape[-1] // patch)
        return torch.arange(n, device=images.device, dtype=images.dtype).expand(len(images), n)


def has_pooler(model: Any) -> bool:
    """Whether a network has a pooler with parameters, which its weights may lack."""
    pooler = getattr(model, POOLER, None)
    return isinstance(pooler, nn.Module) and next(pooler.parameters(), None) is not None


def is_of_pooler(name: str) -> bool:
    """Whether a tensor of a checkpoint belongs to the pooler of a backbone."""
    return f".{POOLER}." in f".{name}"


def _without_text(model: Any) -> None:
    """Take out what classifies or embeds text: it would count as parameters of the network."""
    for name, _ in list(model.named_children()):
        if name.startswith("text"):
            delattr(model, name)
    for name in [name for name, _ in model.named_parameters(recurse=False)]:
        delattr(model, name)
