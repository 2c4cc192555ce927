"""Cells as people write them; the expected numbers are read off by eye."""

import math

import pytest

from headstart.analysis.tables.numerals import parse_numbers, without_markup

PM = "\N{PLUS-MINUS SIGN}"


@pytest.mark.parametrize(("text", "value", "spread"), [
    ("92.1", 92.1, None), (92.1, 92.1, None), (f"92.1 {PM} 0.3", 92.1, 0.3),
    (f"92.1{PM}.3", 92.1, 0.3), ("92.1 +/- 0.3", 92.1, 0.3), ("92.1 +- 0.3", 92.1, 0.3),
    ("92.1 (0.3)", 92.1, 0.3), (f"92.1 ({PM}0.3)", 92.1, 0.3), (f"(92.1 {PM} 0.3)%", 92.1, 0.3),
    (f"92.1 % {PM} 0.3 %", 92.1, 0.3), ("92.1_{0.3}", 92.1, 0.3), (r"$92.1_{\pm 0.3}$", 92.1, 0.3),
    (r"\textbf{92.1} $\pm$ 0.3", 92.1, 0.3), (r"\textbf{92.1}\scriptsize{$\pm$0.3}", 92.1, 0.3),
    (r"\underline{92.1}$_{\small \pm 0.3}$", 92.1, 0.3), (r"92.1{\tiny(0.3)}", 92.1, 0.3),
    (r"92.1\std{0.3}", 92.1, 0.3), (f"92.1<sub>{PM}0.3</sub>", 92.1, 0.3),
    (r"\cellcolor{gray!20}{\bf 92.1}", 92.1, None), (r"$\mathbf{92.1}$", 92.1, None),
    (r"92.1$^\dagger$", 92.1, None), (r"92.1^{a}", 92.1, None), (r"92.1\%", 92.1, None),
    ("92.1\N{DAGGER}", 92.1, None), ("92.1*", 92.1, None), ("**92.1**", 92.1, None),
    ("<b>92.1</b><sup>1</sup>", 92.1, None), ("92.1 [12]", 92.1, None),
    ("92.1 \N{UPWARDS ARROW}", 92.1, None), ("92.1 (+0.5)", 92.1, None),
    ("92.1 (\N{UPWARDS ARROW}0.5)", 92.1, None), ("\N{MINUS SIGN}1", -1.0, None),
])  # fmt: skip
def test_numbers_with_spreads_and_marks(text, value, spread):
    found = parse_numbers([text, "90.25"], [0, 1], "c")
    assert found.bad == []
    assert found.value.tolist() == [value, 90.25]
    assert found.spread[0] == spread if spread else math.isnan(found.spread[0])


@pytest.mark.parametrize(
    "text",
    ["", " ", "-", "--", "\N{EM DASH}", "\N{EN DASH}", "n.a.", "N/A", "?", "OOM", "nan", "None",
     "**-**", r"$-$", "Failed", None, float("nan")],
)  # fmt: skip
def test_marks_of_missing_cells(text):
    found = parse_numbers([text, "90.25"], [0, 1], "c")
    assert (found.bad, found.value[1]) == ([], 90.25)
    assert math.isnan(found.value[0])


@pytest.mark.parametrize(
    "text",
    # Second measures, ranks and references in brackets; bounds; words; a truth value.
    ["92.1 (98.5)", "92.1 (3)", "92.1(3)", "92.1 (91.5, 92.7)", "~92", "<1", "about 92", "x1",
     "92.1 / 90.2", "[90, 91]", "1.2.3", "92.1 -0.3", "92.1_{3}", True,
     # A proportion with a spread in points, or a percentage under 1.
     f"0.91 {PM} 0.4%", f"0.91 ({PM}0.4 %)", "0.91 (0.4%)", r"0.91_{\pm 0.4\%}", f"1 {PM} 0.4%"],
)  # fmt: skip
def test_what_is_not_understood_is_no_number(text):
    found = parse_numbers(["90.25", text], ["a", "b"], "c")
    assert [one.row for one in found.bad] == ["b"]
    assert math.isnan(found.value[1])


def test_percent_signs_stay_with_their_cells():
    assert parse_numbers(["92 %", "0.9", r"91\%"], range(3), "c").percent.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "text", [f"91 {PM} 0.4%", "91 (0.4 %)", r"91_{\pm 0.4\%}", f"0.91% {PM} 0.4%"]
)
def test_a_percent_sign_behind_the_spread_is_of_both(text):
    found = parse_numbers([text, "90.25"], [0, 1], "c")
    assert (found.bad, found.percent.tolist(), found.spread[0]) == ([], [True, False], 0.4)


@pytest.mark.parametrize(("cells", "kind", "expected"), [
    (["92,1", f"90,25 {PM} 0,3"], "score", [92.1, 90.25]),
    (["25,250", "1,000"], "count", [25250, 1000]), (["25.250", "1.000.000"], "count", [25250, 1e6]),
    (["25 250", "500"], "count", [25250, 500]), (["25.6M", "4.1G"], "size", [25.6e6, 4.1e9]),
    (["25.557", "4.123"], "size", [25.557, 4.123]), (["1,234.5", "7"], "size", None),
])  # fmt: skip
def test_decimal_signs_and_thousands(cells, kind, expected):
    found = parse_numbers(cells, range(2), "c", kind)
    if expected is None:
        assert len(found.bad) == 1
    else:
        assert found.value.tolist() == pytest.approx(expected)


def test_markup_of_names():
    assert without_markup(r"\textbf{ResNet\_50}~\cite{he2016} \& \emph{MoCo}") == "ResNet_50 & MoCo"
    assert without_markup("vit_base_patch16_224") == "vit_base_patch16_224"
