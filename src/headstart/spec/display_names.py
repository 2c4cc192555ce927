"""Display names of settings in figures, tables and sentences, and their order."""

from collections.abc import Iterable

__all__ = ["correlation_label", "in_order", "number_label", "role", "setting_label"]

# Roles in the order of the paper, each with the names that tables in the field give it.
ROLES = {
    "linear": ("linear", "logisticregression", "linearprobe", "linearprobing", "linearprobelbfgs",
               "lineareval", "linearevaluation", "linearclassifier", "logreg", "fixedfeatures"),
    "finetune": ("finetune", "finetuned", "finetuning", "ft", "fullfinetune", "fullfinetuning"),
    "scratch": ("scratch", "randominit", "random", "fromscratch", "randominitialization",
                "randominitialisation", "trainedfromscratch"),
}  # fmt: skip
LABELS = {
    "linear": "Logistic regression",
    "finetune": "Fine-tuned",
    "scratch": "Random initialization",
    "knn": "Nearest neighbours",
}


def role(setting: str) -> str | None:
    """Return which of linear, finetune and scratch a setting's name means; None where unknown.

    Capitals, spaces and signs do not count. What stands in brackets after a name tells protocols
    apart and is not looked at.

    Examples
    --------
    >>> role("Linear probe"), role("linear (simclr2020)"), role("zero_shot")
    ('linear', 'linear', None)
    """
    name = "".join(letter for letter in setting.split(" (")[0].lower() if letter.isalnum())
    return next((role for role, names in ROLES.items() if name in names), None)


def setting_label(setting: str) -> str:
    """Name a setting for a person.

    Examples
    --------
    >>> setting_label("fine_tuned"), setting_label("linear (simclr2020)"), setting_label("knn_20")
    ('Fine-tuned', 'Logistic regression (simclr2020)', 'knn 20')
    """
    name, bracket, rest = setting.partition(" (")
    known = "knn" if name.lower() == "knn" else role(name)
    return (LABELS[known] if known else name.replace("_", " ")) + bracket + rest


def number_label(value: float) -> str:
    """Write a hyperparameter with three digits; with an exponent only where it is small.

    Examples
    --------
    >>> [number_label(value) for value in (3.1623e-06, 0.0178, 1.0, 100.0, 999.9, 31622.8)]
    ['3.16e-06', '0.0178', '1', '100', '1,000', '31,623']
    """
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def correlation_label(value: float) -> str:
    r"""Write a correlation with three digits; what would round to 1 but is not, as a bound.

    An unknown one is a dash.

    Examples
    --------
    >>> [correlation_label(value) for value in (0.98649, 0.9997, 1.0)]
    ['0.986', '> 0.999', '1.000']
    >>> correlation_label(-0.9997) == "< \N{MINUS SIGN}0.999"
    True
    """
    # What is this near to 1 is 1 but for the arithmetic.
    if 0.9995 <= abs(value) < 1 - 1e-9:
        return "> 0.999" if value > 0 else "< \N{MINUS SIGN}0.999"
    if value != value:
        return "\N{EN DASH}"
    # Adding zero takes the minus from one.
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "\N{MINUS SIGN}")


def in_order(settings: Iterable[str]) -> list[str]:
    """Order settings as the paper does: linear, finetune, scratch, then others as they come."""
    roles = list(ROLES)

    def place(setting: str) -> int:
        known = role(setting)
        return roles.index(known) if known else len(roles)

    return sorted(dict.fromkeys(settings), key=place)
