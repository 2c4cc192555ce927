"""Numbers, intervals, lists and names as text; the order of names in tables and figures."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import Any, NamedTuple

from headstart.spec.dataset import plain_name

__all__ = [
    "CELL_TESTS",
    "ERROR_BARS",
    "NO_AFFIXES",
    "STANDARD_ERRORS",
    "UNKNOWN",
    "Affixes",
    "Names",
    "SmallPicture",
    "by_setting",
    "capitalized",
    "coefficient",
    "coefficient_interval",
    "count",
    "decimals",
    "first_few",
    "html_table",
    "in_order",
    "interval",
    "joined",
    "known",
    "listed",
    "number",
    "number_label",
    "p_value",
    "percent",
    "r_of",
    "ranged",
    "role",
    "setting_label",
    "setting_phrase",
    "short_configuration",
    "uncertain",
]

UNKNOWN = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
STANDARD_ERRORS = {
    "morey": "one Cousineau-Morey within-dataset standard error (Morey, 2008)",
    "cousineau": "one Cousineau within-dataset standard error (Cousineau, 2005)",
}
ERROR_BARS = {
    "morey": "within-dataset standard errors with the factor sqrt(M / (M - 1)) (Morey, 2008)",
    "cousineau": "within-dataset standard errors without correction factor (Cousineau, 2005)",
}

# How models were held against the best of a dataset.
CELL_TESTS = {
    "mcnemar": "exact McNemar test on the test images",
    "permutation": "permutation test on the test images",
    "independent": "conservative test from the test-set sizes",
}
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
PHRASES = {
    "linear": "logistic regression",
    "finetune": "fine-tuning",
    "scratch": "training from random initialization",
}
# Other common names, as `plain_name` writes them.
NAMED = {
    "zeroshot": "zero-shot classification",
    "fewshot": "few-shot classification",
    "knn": "nearest-neighbour classification",
    "lora": "LoRA",
}


def known(value: Any) -> bool:
    """Return whether a value is known: neither None nor NaN."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def number(value: Any, digits: int = 2, plus: bool = False) -> str:
    """Return a number with a true minus sign; a dash if it is unknown.

    Examples
    --------
    >>> number(0.254), number(0.254, plus=True), number(-0.001)
    ('0.25', '+0.25', '0.00')
    """
    if not known(value):
        return UNKNOWN
    if math.isinf(value):
        return "∞" if value > 0 else MINUS + "∞"
    value = round(float(value), digits) + 0.0  # no minus before a zero
    return f"{value:{'+' if plus and value else ''}.{digits}f}".replace("-", MINUS)


def decimals(digits: int, plus: bool = False, scale: float = 1) -> Callable[[Any], str]:
    """Return the format of numbers with so many decimals, multiplied by `scale` before.

    Examples
    --------
    >>> decimals(1, scale=100)(0.7634)
    '76.3'
    """
    return lambda value: number(scale * value if known(value) else None, digits, plus)


def percent(proportion: Any, digits: int = 1) -> str:
    """Return a proportion in percent, without the sign.

    Examples
    --------
    >>> percent(0.7634), percent(1, digits=0)
    ('76.3', '100')
    """
    return number(100 * proportion, digits) if known(proportion) else UNKNOWN


def ranged(low: Any, high: Any, format_end: Callable[[Any], str]) -> str:
    """Return an interval as "low to high", clear with minus signs; empty if unknown."""
    return f"{format_end(low)} to {format_end(high)}" if known(low) and known(high) else ""


def interval(low: Any, high: Any, digits: int = 2, scale: float = 1) -> str:
    """Return an interval of numbers with so many decimals; empty if unknown.

    Examples
    --------
    >>> interval(0.2, 0.31), interval(0.712, 0.734, 1, 100), interval(float("nan"), 1.0)
    ('0.20 to 0.31', '71.2 to 73.4', '')
    """
    return ranged(low, high, decimals(digits, scale=scale))


def coefficient(r: Any) -> str:
    """Return a correlation with three digits, 1 only where it is exactly 1; a dash if unknown.

    Examples
    --------
    >>> coefficient(0.9864), coefficient(0.99981), coefficient(-0.99999), coefficient(1.0)
    ('0.986', '> 0.999', '< \u22120.999', '1.000')
    """
    # What is this near to 1 is 1 but for the arithmetic.
    if known(r) and 0.9995 <= abs(r) < 1 - 1e-9:
        return "> 0.999" if r > 0 else f"< {MINUS}0.999"
    return number(r, 3)


def coefficient_interval(low: Any, high: Any) -> str:
    """Return an interval of a correlation; empty if unknown.

    Examples
    --------
    >>> coefficient_interval(0.9712, 0.99981)
    '0.971 to > 0.999'
    """
    return ranged(low, high, coefficient)


def r_of(estimate: Any, low: Any = None, high: Any = None) -> str:
    """Return r with its sign of equality or inequality, and its interval, if it has one.

    Examples
    --------
    >>> r_of(0.99981), r_of(0.986, 0.951, 0.9996)
    ('r > 0.999', 'r = 0.986 (95 % interval 0.951 to > 0.999)')
    """
    text, between = coefficient(estimate), coefficient_interval(low, high)
    text = f"r {text}" if text[0] in "<>" else f"r = {text}"
    return f"{text} (95 % interval {between})" if between else text


def p_value(p: Any) -> str:
    """Return a p-value: two significant digits, nothing below a thousandth.

    Examples
    --------
    >>> p_value(0.0312), p_value(0.00004), p_value(0.4), p_value(1.0)
    ('0.031', '< 0.001', '0.40', '1.00')
    """
    if not known(p):
        return UNKNOWN
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


@dataclass(frozen=True)
class SmallPicture:
    """An image on a page: its file, or number of the example, and a small copy as a data URI.

    `tiny` is whether its pixels are to be seen.
    """

    where: str
    picture: str = field(default="", repr=False)
    tiny: bool = False


def html_table(
    caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1
) -> str:
    """Return a table of text as HTML for a notebook, escaped; all but the first columns right.

    Examples
    --------
    >>> html_table("Means", ["Model", "%"], [["<a>", "79.4"]]).count("&lt;a&gt;")
    1
    """

    def line(texts: Sequence[str], tag: str) -> str:
        sides = ["left" if i < names else "right" for i in range(len(texts))]
        return "".join(
            f'<{tag} style="text-align: {side}">{escape(text)}</{tag}>'
            for text, side in zip(texts, sides, strict=True)
        )

    head = f"<thead><tr>{line(headings, 'th')}</tr></thead>" if headings else ""
    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption>{head}<tbody>{body}</tbody></table>"


def count(n: int, noun: str) -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> count(1, "model"), count(25250, "image")
    ('1 model', '25,250 images')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return a list of names, at most so many of them.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b", "c"]), listed(["a", "b", "c", "d"], most=2)
    ('a', 'a, b and c', 'a, b and 2 others')
    """
    if len(names) > most:
        rest = len(names) - most
        return f"{', '.join(names[:most])} and {count(rest, 'other')}"
    return joined(names)


def first_few(texts: Sequence[str], most: int = 4, separator: str = ", ") -> str:
    """Return the first texts, and the number of those left out.

    Examples
    --------
    >>> first_few(["a", "b"]), first_few(["a", "b", "c"], 1), first_few(["a", "b"], separator="; ")
    ('a, b', 'a and 2 more', 'a; b')
    """
    rest = len(texts) - most
    return separator.join(texts[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def joined(parts: Sequence[str]) -> str:
    """Join parts with commas and a final "and".

    Examples
    --------
    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]])) if parts else ""


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


def number_label(value: float | str) -> str:
    """Write a number with three digits, with an exponent only where it is small; a word stays.

    Examples
    --------
    >>> [number_label(value) for value in (3.1623e-06, 0.0178, 1.0, 100.0, 999.9, 31622.8)]
    ['3.16e-06', '0.0178', '1', '100', '1,000', '31,623']
    """
    if isinstance(value, str):
        return value
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


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

    Settings are in the paper's order, datasets in that of the table of results, models by their
    mean in the first setting, the best first; those without a mean last, by name.
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


def setting_phrase(setting: str) -> str:
    """Return a setting as a noun phrase; an unknown one in quotes.

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


def capitalized(text: str) -> str:
    """Return a text with a capital first letter.

    Examples
    --------
    >>> capitalized("by logistic regression on ImageNet"), capitalized("")
    ('By logistic regression on ImageNet', '')
    """
    return text[:1].upper() + text[1:]


def uncertain(low: float, high: float) -> str:
    """Return what follows an interval that includes 0; else nothing.

    Examples
    --------
    >>> uncertain(-1.0, 2.0), uncertain(1.0, 2.0)
    (', which includes 0: the direction is uncertain', '')
    """
    return ", which includes 0: the direction is uncertain" if low <= 0 <= high else ""


def by_setting(setting: str) -> str:
    """Return how a network was transferred: "by fine-tuning", 'in the setting "as trained"'.

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
