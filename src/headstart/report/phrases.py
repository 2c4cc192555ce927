"""Settings inside a sentence."""

from headstart.spec import plain_name
from headstart.spec.labels import role, setting_label

__all__ = ["by_setting", "setting_phrase"]

PHRASES = {
    "linear": "logistic regression",
    "finetune": "fine-tuning",
    "scratch": "training from random initialization",
}
# Other names that the field has, as `plain_name` writes them.
NAMED = {
    "zeroshot": "zero-shot classification",
    "fewshot": "few-shot classification",
    "knn": "nearest-neighbor classification",
    "lora": "LoRA",
}


def setting_phrase(setting: str) -> str:
    """Name a setting inside a sentence, as what is done; one of unknown meaning in quotes.

    Examples
    --------
    >>> setting_phrase("fine_tuned"), setting_phrase("linear (simclr2020)")
    ('fine-tuning', 'logistic regression (simclr2020)')
    >>> setting_phrase("as trained")
    '\u201cas trained\u201d'
    """
    name, bracket, rest = setting.partition(" (")
    known = _known(name)
    if known is None:
        return (
            f"\N{LEFT DOUBLE QUOTATION MARK}{setting_label(setting)}\N{RIGHT DOUBLE QUOTATION MARK}"
        )
    return known + bracket + rest


def by_setting(setting: str) -> str:
    """Say how a network was transferred: "by fine-tuning", 'in the setting "as trained"'.

    Examples
    --------
    >>> by_setting("linear"), by_setting("as trained")
    ('by logistic regression', 'in the setting \u201cas trained\u201d')
    """
    known = _known(setting.partition(" (")[0])
    return f"{'by' if known else 'in the setting'} {setting_phrase(setting)}"


def _known(name: str) -> str | None:
    known_role = role(name)
    return PHRASES[known_role] if known_role else NAMED.get(plain_name(name))
