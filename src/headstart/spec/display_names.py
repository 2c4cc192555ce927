"""Display names of settings in figures, tables and sentences; the order of all names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

__all__ = [
    "NO_AFFIXES",
    "Affixes",
    "Names",
    "correlation_label",
    "in_order",
    "number_label",
    "role",
    "setting_label",
    "short_configuration",
]

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


def short_configuration(name: Any) -> str:
    """Return the part of a training configuration's name before its explanation.

    Examples
    --------
    >>> short_configuration("S1: -BN scale"), short_configuration("no dropout")
    ('S1', 'no dropout')
    """
    return str(name).partition(": ")[0]


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


# The tables of an analysis that have names, in the order in which names are collected.
WITH_NAMES = ("cells", "model_means", "ranks", "ablation", "convergence", "dataset_size")


# A shorter common part of all names is not worth leaving out.
SHORTEST_AFFIX = 5
SEPARATORS = "/:._-? "


class Affixes(NamedTuple):
    """What all of some models' names begin and end with, which tables and figures leave out."""

    prefix: str = ""
    suffix: str = ""

    @classmethod
    def of(cls, names: Iterable[str]) -> "Affixes":
        """Find them, up to a separator; empty where they are short.

        Examples
        --------
        >>> Affixes.of(["timm/vit_b?size=96", "timm/vit_s?size=96"])
        Affixes(prefix='timm/vit_', suffix='?size=96')
        >>> Affixes.of(["resnet18", "resnet50"]) == Affixes.of(["timm/a"]) == Affixes("", "")
        True
        """
        distinct = sorted(set(names))
        if len(distinct) < 2:
            return NO_AFFIXES
        prefix = shared_start(distinct)
        prefix = prefix[: max(map(prefix.rfind, SEPARATORS)) + 1]
        rest = [name[len(prefix) :] for name in distinct]
        suffix = shared_start([name[::-1] for name in rest])[::-1]
        places = [place for place in map(suffix.find, SEPARATORS) if place >= 0]
        suffix = suffix[min(places) :] if places else ""
        if any(not name.removesuffix(suffix) for name in rest):
            suffix = ""
        return cls(*(part if len(part) >= SHORTEST_AFFIX else "" for part in (prefix, suffix)))

    def short(self, name: str) -> str:
        """Return one of the names without them."""
        return name[len(self.prefix) : len(name) - len(self.suffix)]

    @property
    def note(self) -> str:
        """The sentence that names them; empty for none."""
        parts = [f"{verb} with {part}" for verb, part in
                 zip(("begin", "end"), self, strict=True) if part]  # fmt: skip
        return f"All model names {' and '.join(parts)}." if parts else ""


NO_AFFIXES = Affixes()


def shared_start(texts: Sequence[str]) -> str:
    """Return what all texts begin with."""
    first, last = min(texts), max(texts)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first[:same]


@dataclass(frozen=True)
class Names:
    """Every setting, dataset and model of an analysis, in the order of figures and tables.

    Attributes
    ----------
    settings
        In the paper's order.
    datasets
        In the order of the table of results.
    models
        By their mean in the first setting, the best first; those without a mean last, by name.
    """

    settings: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    @classmethod
    def of(cls, tables: Mapping[str, Any]) -> "Names":
        """Collect the names of tables, data frames by their names in an analysis."""
        own = [tables[name] for name in WITH_NAMES if name in tables]

        def found(column: str) -> list[str]:
            return [str(name) for table in own if column in table for name in table[column]]

        settings, means = in_order(found("setting")), tables.get("model_means")
        ranked: list[str] = []
        if means is not None and {"setting", "model", "mean"} <= set(means):
            means = means[means["setting"].isin(settings[:1])]
            means = means.sort_values(["mean", "model"], ascending=[False, True])
            ranked = [str(name) for name in means["model"]]
        models = dict.fromkeys([*ranked, *sorted(found("model"))])
        return cls(tuple(settings), tuple(dict.fromkeys(found("dataset"))), tuple(models))

    @cached_property
    def places(self) -> dict[str, dict[str, int]]:
        """The place of each name, by kind: ``setting``, ``dataset``, ``model``."""
        kinds = {"setting": self.settings, "dataset": self.datasets, "model": self.models}
        return {kind: {n: i for i, n in enumerate(names)} for kind, names in kinds.items()}
