"""Numbers, intervals, lists and settings as text."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from headstart.spec.dataset import plain_name
from headstart.spec.display_names import correlation_label, role, setting_label

__all__ = [
    "CELL_TESTS",
    "ERROR_BARS",
    "STANDARD_ERRORS",
    "UNKNOWN",
    "SmallPicture",
    "by_setting",
    "capitalized",
    "coefficient",
    "coefficient_interval",
    "count",
    "decimals",
    "first_few",
    "html_table",
    "interval",
    "joined",
    "known",
    "listed",
    "number",
    "p_value",
    "percent",
    "r_of",
    "ranged",
    "setting_phrase",
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
    """Return a correlation with three digits, 1 only where it is exactly 1.

    Examples
    --------
    >>> coefficient(0.9864), coefficient(0.99981), coefficient(-0.99999), coefficient(1.0)
    ('0.986', '> 0.999', '< \u22120.999', '1.000')
    """
    return correlation_label(float(r)) if known(r) else UNKNOWN


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
    """An image on a page.

    Parameters
    ----------
    where
        File name, or number of the example.
    picture
        A small copy as a data URI; "" without one.
    tiny
        Whether its pixels are to be seen.
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
