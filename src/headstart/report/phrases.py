"""Settings inside a sentence."""

from headstart.spec.labels import role, setting_label

__all__ = ["setting_phrase"]

PHRASES = {
    "linear": "logistic regression",
    "finetune": "fine-tuning",
    "scratch": "training from random initialization",
}


def setting_phrase(setting: str) -> str:
    """Name a setting inside a sentence.

    Examples
    --------
    >>> setting_phrase("fine_tuned"), setting_phrase("linear (simclr2020)")
    ('fine-tuning', 'logistic regression (simclr2020)')
    """
    known_role = role(setting)
    if known_role is None:
        return setting_label(setting)
    _, bracket, rest = setting.partition(" (")
    return PHRASES[known_role] + bracket + rest
