"""Which models are relatives: what one family member shows, the others repeat."""

import re

__all__ = ["family_of"]

# A family's members differ by these.
SIZES = {
    "nano", "tiny", "mini", "small", "medium", "mobile", "base", "large", "huge", "giant", "patch",
    "xs", "xxs", "xl", "xxl",
}  # fmt: skip


def family_of(model: str) -> str:
    """Name a model's family after the part of its name before sizes and versions.

    A rule of thumb for tables that have no column `family`: words up to the first that is a single
    letter, a size or a version; of a word that ends in a number, what stands before the number.

    Examples
    --------
    >>> family_of("ResNet-50"), family_of("efficientnet_lite2"), family_of("CLIP-ViT-L/14")
    ('ResNet', 'efficientnet_lite', 'CLIP-ViT')
    """
    end = 0
    for word in re.finditer(r"[^\s_\-()/.,:]+", model):
        letters = re.match(r"[^\d]*", word[0])
        head = letters[0] if letters else ""
        if len(head) < 2 or head.lower() in SIZES:
            break
        if len(head) < len(word[0]):
            # mobilenetv2 is a mobilenet.
            end = word.start() + len(head.removesuffix("v") if len(head) > 2 else head)
            break
        end = word.start() + len(head)
    return model[:end] or model
