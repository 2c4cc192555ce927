"""The tables of a paper as LaTeX."""

import unicodedata
from pathlib import Path
from typing import Any

from headstart.files import replaced
from headstart.report.page_model import Names, Subject, marker_legend, marker_of, names_of
from headstart.report.result_tables import correction_sentence
from headstart.spec.display_names import in_order, setting_label
from headstart.spec.formatting import coefficient, coefficient_interval, known

__all__ = ["LatexTables", "latex_tables"]

# Characters that are special in LaTeX.
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
    "`": r"\textasciigrave{}",
    # After the end of a row these would be arguments of \\.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
}
# With more columns, headings are rotated: numbers are narrower than names.
MOST_LEVEL_HEADS = 8
# Rows per page; longer tables are split.
MOST_ROWS = 45
# Letters with these marks are in the fonts of pdflatex.
ACCENTS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327\u0328"
TYPOGRAPHY = "\u2013\u2014\u2018\u2019\u201c\u201d\u2026"
UNICODE = (
    "% Some names have letters that pdflatex has no font for: compile with xelatex or lualatex,\n"
    "% in a font that has them (\\usepackage{fontspec})."
)


class LatexTables:
    """The reporter of `latex_tables`."""

    label = "LaTeX"
    suffixes = (".tex",)

    def write(self, analysis: Subject, target: Path) -> None:
        """Write the tables as UTF-8 text."""
        with replaced(target) as temporary:
            temporary.write_text(latex_tables(analysis), encoding="utf-8")


def latex_tables(analysis: Subject, digits: int = 1) -> str:
    """Return the accuracies, one table per setting, and the correlations as LaTeX.

    The tables need the packages ``booktabs`` and ``graphicx``; names with letters beyond those of
    pdflatex's fonts also need xelatex or lualatex, which a comment at the top then says.

    Parameters
    ----------
    analysis
        The tidy tables of an analysis.
    digits
        Decimals of a percentage.
    """
    names = names_of(analysis)
    keys = labels(names.settings)
    tables = [accuracy_latex(analysis, names, setting, digits, keys) for setting in names.settings]
    tables.append(correlations_latex(analysis))
    body = "\n\n".join(filter(None, tables))
    first = ["% \\usepackage{booktabs,graphicx}", *([] if printable(body) else [UNICODE])]
    return "\n".join(first) + "\n\n" + body + "\n"


def printable(text: str) -> bool:
    """Return whether pdflatex can print every letter: Latin, with or without accents."""
    parts = unicodedata.normalize("NFD", text)
    return all(part.isascii() or part in ACCENTS or part in TYPOGRAPHY for part in parts)


def escaped(text: Any) -> str:
    r"""Escape a name for LaTeX.

    Examples
    --------
    >>> print(escaped("a_b & 50 %"))
    a\_b \& 50 \%
    """
    # Control and format characters, such as marks of direction, print nothing and stop pdflatex.
    seen = "".join(c for c in " ".join(str(text).split()) if unicodedata.category(c)[0] != "C")
    return "".join(SPECIAL.get(c, c) for c in seen).replace("--", "-{}-")


def accuracy_latex(
    analysis: Subject, names: Names, setting: str, digits: int, keys: dict[str, str]
) -> str:
    """Return one setting: models by datasets in percent, with mean accuracy and mean log odds."""
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
        row += [mean_accuracy(mean_of.get(model), digits)] if mean_of else []
        row += [mean_entry(mean_of.get(model))] if mean_of else []
        rows.append(row)
    heads = ["Model", *map(escaped, datasets), *(["Mean", "Mean log odds"] if mean_of else [])]
    metrics = escaped(", ".join(dict.fromkeys(str(m) for m in cells.metric if known(m))))
    caption = " ".join(
        [
            f"{escaped(setting_label(setting))}: accuracy in percent",
            f"({metrics or 'metric not given'}).",
            markers_caption(analysis, cells, means),
            means_caption(means),
            source_caption(analysis),
        ]
    )
    align = "l" + "r" * (len(heads) - 1)
    return in_parts(caption, f"tab:transfer-{keys[setting]}", align, heads, rows)


def means_caption(means: Any) -> str:
    """Return what the columns of means hold."""
    if not len(means):
        return ""
    spread = " with one standard error" if means.se.notna().any() else ""
    holed = (means.n_datasets < means.of_datasets).any()
    adjusted = ", adjusted for missing cells by an additive model" if holed else ""
    return f"Mean accuracy and mean log odds over datasets{adjusted}{spread}."


def correlations_latex(analysis: Subject) -> str:
    """Return the correlation of every setting over all datasets, with intervals."""
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
                plain(coefficient_interval(row.low, row.high)),
                plain(coefficient_interval(row.low_family, row.high_family)),
            ]
            counts = [f"{row.n_models}", f"{row.n_datasets}"]
            estimate = plain(coefficient(row.estimate))
            rows.append([escaped(setting_label(setting)), name, estimate, *over, *counts])
    heads = [
        "Setting",
        "Statistic",
        "Estimate",
        "95\\,\\% interval (models)",
        "95\\,\\% interval (families)",
    ]
    caption = (
        f"Correlation of {escaped(analysis.predictor.label)} with transfer accuracy over all "
        f"datasets{', with confidence intervals' if found.low.notna().any() else ''}. "
        f"{source_caption(analysis)}"
    )
    heads += ["Models", "Datasets"]
    return in_parts(caption, "tab:transfer-correlations", "llrrrrr", heads, rows)


def markers_caption(analysis: Subject, cells: Any, means: Any) -> str:
    """Return what bold and underlined mean, by which tests and with which correction."""
    legend = marker_legend(analysis, cells, means)
    if "Underlined" in legend:
        legend += f" {correction_sentence(analysis)}"
    return escaped(legend)


def accuracy_entry(row: Any, digits: int) -> str:
    if row is None or not known(row.accuracy):
        return "--"
    return marked(f"{100 * row.accuracy:.{digits}f}", marker_of(row))


def mean_accuracy(row: Any, digits: int) -> str:
    return "--" if row is None else f"{100 * row.accuracy:.{digits}f}"


def mean_entry(row: Any) -> str:
    if row is None or not known(row.mean):
        return "--"
    spread = rf" $\pm$ {row.se:.2f}" if known(row.se) else ""
    return marked(decimal(row.mean, 2), marker_of(row)) + spread


def marked(text: str, mark: str) -> str:
    commands = {"best": r"\textbf{%s}", "same": r"\underline{%s}"}
    return commands.get(mark, "%s") % text


def decimal(value: float, digits: int) -> str:
    return plain(f"{value:.{digits}f}")


def plain(text: str) -> str:
    """Return a number or an interval, in math mode where it has a sign."""
    text = text.replace("\N{MINUS SIGN}", "-") or "--"
    return " to ".join(
        f"${part}$" if part[:1] in "-<>" and part != "--" else part for part in text.split(" to ")
    )


def source_caption(analysis: Subject) -> str:
    """Return where the numbers come from, and whether they were digitised."""
    parts = []
    for source in analysis.sources:
        words = escaped(source.get("description") or source.get("name") or "")
        parts.append(words + (" (digitised)" if source.get("digitised") else ""))
    return f"Source: {'; '.join(parts)}." if any(parts) else ""


def labels(settings: tuple[str, ...]) -> dict[str, str]:
    """Return a unique LaTeX label for each setting."""
    given: dict[str, str] = {}
    for setting in settings:
        plainly = "".join(c if c.isalnum() and c.isascii() else "-" for c in setting.lower())
        label, n = plainly, 1
        while label in given.values():
            n += 1
            label = f"{plainly}-v{n}"
        given[setting] = label
    return given


def in_parts(caption: str, key: str, align: str, heads: list[str], rows: list[list[str]]) -> str:
    """Split the rows into tables of about the same length."""
    n = -(-len(rows) // MOST_ROWS)
    if n < 2:
        return table(caption, key, align, heads, rows)
    size = -(-len(rows) // n)
    parts = [rows[i * size : (i + 1) * size] for i in range(n)]
    return "\n\n".join(
        table(f"{caption.strip()} Part {i} of {n}.", f"{key}-part{i}", align, heads, part)
        for i, part in enumerate(parts, start=1)
    )


def table(caption: str, key: str, align: str, heads: list[str], rows: list[list[str]]) -> str:
    """Return one table, scaled down to the width of the text if it is wider."""
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
