"""Tables for papers and for other programs: LaTeX and one long table."""

from typing import Any

import pandas as pd

from headstart.report.numbers import interval, known
from headstart.report.result_tables import mark_of
from headstart.report.significance import correction_sentence
from headstart.report.subject import Names, Subject, names_of
from headstart.spec.labels import in_order, setting_label

__all__ = ["csv_table", "latex_tables"]

COLUMNS = [
    *("setting", "model", "dataset", "value", "unit", "low", "high", "best"),
    "not_distinguishable",
]
# What LaTeX reads as its own; the backslash first, as the others bring one.
SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
}
# More columns than these, and their headings stand upright: numbers are narrower than names.
MOST_LEVEL_HEADS = 8
IMAGE_TESTS = {"mcnemar": "exact McNemar test", "permutation": "permutation test"}


def csv_table(analysis: Subject) -> Any:
    """Give every accuracy and every mean in one long table.

    Parameters
    ----------
    analysis
        The tidy tables of an analysis.

    Returns
    -------
    DataFrame
        ``setting``, ``model``, ``dataset`` (``"mean"`` for the mean over datasets), ``value``,
        ``unit`` (``proportion``, for a mean ``log odds``), ``low`` and ``high`` of its 95 %
        interval, ``best`` of its dataset and setting, ``not_distinguishable`` from that best
        (None where untested).
    """
    cells = analysis.cells.rename(columns={"accuracy": "value"}).assign(unit="proportion")
    means = analysis.model_means.rename(columns={"mean": "value"})
    means = means.assign(unit="log odds", dataset="mean")
    parts = [part for part in (cells, means) if len(part)]
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    parts = [part.rename(columns={"not_different": "not_distinguishable"}) for part in parts]
    rows = [row for part in parts for row in part[COLUMNS].to_dict("records")]
    return pd.DataFrame(rows, columns=COLUMNS)


def latex_tables(analysis: Subject, digits: int = 1) -> str:
    """Give the accuracies, a table a setting, and the correlations as LaTeX.

    They need the packages ``booktabs`` and ``graphicx``, and nothing else.

    Parameters
    ----------
    analysis
        The tidy tables of an analysis.
    digits
        Decimals of a percentage.
    """
    names = names_of(analysis)
    tables = [accuracy_latex(analysis, names, setting, digits) for setting in names.settings]
    tables.append(correlations_latex(analysis))
    return "\n\n".join(["% \\usepackage{booktabs,graphicx}", *filter(None, tables)]) + "\n"


def escaped(text: Any) -> str:
    r"""Write a name so that LaTeX prints it and does nothing else with it.

    Examples
    --------
    >>> print(escaped("a_b & 50 %"))
    a\_b \& 50 \%
    """
    words = " ".join(str(text).split())
    return "".join(SPECIAL.get(character, character) for character in words)


def accuracy_latex(analysis: Subject, names: Names, setting: str, digits: int) -> str:
    """One setting: models by datasets in percent, with the mean log odds."""
    cells, means = analysis.cells, analysis.model_means
    cells = cells[cells.setting == setting] if len(cells) else cells
    if not len(cells):
        return ""
    means = means[means.setting == setting] if len(means) else means
    found = {(row.model, row.dataset): row for row in cells.itertuples(index=False)}
    mean_of = {row.model: row for row in means.itertuples(index=False)}
    datasets = [name for name in names.datasets if name in set(cells.dataset)]
    models = [name for name in names.models if name in set(cells.model)]
    rows = []
    for model in models:
        row = [escaped(model)]
        row += [accuracy_entry(found.get((model, name)), digits) for name in datasets]
        row += [mean_entry(mean_of.get(model))] if mean_of else []
        rows.append(row)
    heads = ["Model", *map(escaped, datasets), *(["Mean log odds"] if mean_of else [])]
    metrics = escaped(", ".join(dict.fromkeys(str(m) for m in cells.metric if known(m))))
    caption = " ".join(
        [
            f"{escaped(setting_label(setting))}: accuracy in percent",
            f"({metrics or 'metric not given'}).",
            marks_said(analysis, cells, means),
            "Mean log odds over datasets with one standard error." if mean_of else "",
            source_words(analysis),
        ]
    )
    return table(
        caption, f"tab:transfer-{label(setting)}", "l" + "r" * (len(heads) - 1), heads, rows
    )


def correlations_latex(analysis: Subject) -> str:
    """Every setting's correlation over all datasets, with intervals."""
    found = analysis.correlations
    found = found[(found.group == "all") & found.estimate.notna()] if len(found) else found
    if not len(found):
        return ""
    statistics = {
        "pearson_logit": "Pearson $r$, log odds",
        "pearson_plain": "Pearson $r$, accuracy",
        "spearman": r"Spearman $\rho$",
        "kendall": r"Kendall $\tau$",
    }
    rows = []
    for setting in in_order(found.setting):
        for row in found[found.setting == setting].itertuples(index=False):
            name = statistics.get(row.statistic, escaped(row.statistic))
            over = [
                plain(interval(row.low, row.high, 3)),
                plain(interval(row.low_family, row.high_family, 3)),
            ]
            counts = [f"{row.n_models}", f"{row.n_datasets}"]
            rows.append(
                [escaped(setting_label(setting)), name, decimal(row.estimate, 3), *over, *counts]
            )
    heads = ["Setting", "Statistic", "Estimate", "95\\,\\% over models", "95\\,\\% over families"]
    caption = (
        f"Correlation of {escaped(analysis.upstream_name)} with transfer accuracy over all "
        f"datasets, with bootstrap intervals. {source_words(analysis)}"
    )
    return table(
        caption, "tab:transfer-correlations", "llrrrrr", [*heads, "Models", "Datasets"], rows
    )


def marks_said(analysis: Subject, cells: Any, means: Any) -> str:
    """Say what bold and underlined mean, by which tests and with which correction."""
    used = set(analysis.pairwise.test) if len(analysis.pairwise) else set()
    tests = [name for test, name in IMAGE_TESTS.items() if test in used]
    said = []
    if cells.not_different.notna().any():
        said.append(" or ".join(tests or ["paired test"]) + " on the test images")
    if len(means) and means.not_different.notna().any():
        said.append("paired t-test over datasets for the means")
    if not said:
        return "Bold is the best; no test compares the others with it."
    tail = f"({'; '.join(said)}; $p > 0.05$)."
    words = "Bold is the best; underlined is what cannot be told from it"
    return f"{words} {tail} {escaped(correction_sentence(analysis))}"


def accuracy_entry(row: Any, digits: int) -> str:
    if row is None or not known(row.accuracy):
        return "--"
    return marked(f"{100 * row.accuracy:.{digits}f}", mark_of(row))


def mean_entry(row: Any) -> str:
    if row is None or not known(row.mean):
        return "--"
    spread = rf" $\pm$ {row.se:.2f}" if known(row.se) else ""
    return marked(decimal(row.mean, 2), mark_of(row)) + spread


def marked(text: str, mark: str) -> str:
    commands = {"best": r"\textbf{%s}", "same": r"\underline{%s}"}
    return commands.get(mark, "%s") % text


def decimal(value: float, digits: int) -> str:
    return plain(f"{value:.{digits}f}")


def plain(text: str) -> str:
    """Give a number or an interval as mathematics where it has a sign."""
    text = text.replace("\N{MINUS SIGN}", "-") or "--"
    return " to ".join(
        f"${part}$" if part[:1] == "-" and part != "--" else part for part in text.split(" to ")
    )


def source_words(analysis: Subject) -> str:
    """Say where the numbers come from, and that they were read off a figure if they were."""
    said = []
    for source in analysis.sources:
        words = escaped(source.get("description") or source.get("name") or "")
        said.append(words + (" (digitised)" if source.get("digitised") else ""))
    return f"Source: {'; '.join(said)}." if any(said) else ""


def label(setting: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in setting.lower())


def table(caption: str, key: str, align: str, heads: list[str], rows: list[list[str]]) -> str:
    """Lay a table out, scaled down to the text's width where it is wider."""
    body = [" & ".join(row) + r" \\" for row in rows]
    if len(heads) > MOST_LEVEL_HEADS:
        heads = [heads[0], *(rf"\rotatebox{{90}}{{{head}}}" for head in heads[1:])]
    lines = [
        r"\begin{table}[t]",
        r"\centering\small",
        rf"\caption{{{caption.strip()}}}",
        rf"\label{{{key}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{align}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}%",
        r"\end{table}",
    ]
    return "\n".join(lines)
