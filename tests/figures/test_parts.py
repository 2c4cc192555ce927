"""Ticks, names, styles, and places of labels."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit

from headstart.figures.encodings import domain, percent_ticks
from headstart.figures.figure_data import flags, log_odds
from headstart.figures.figure_text import (
    elided,
    fitted,
    overlaps,
    place,
    telling_head,
    text_width,
    wrapped,
)
from headstart.figures.style import class_styles, marker_styles, residual_steps, setting_styles
from headstart.spec.formatting import coefficient, r_of


class TestPercentTicks:
    @pytest.mark.parametrize(
        ("low", "high", "length", "expected"),
        [
            (0.715, 0.81, 290, [72, 74, 76, 78, 80]),
            (0.40, 0.985, 400, [40, 50, 60, 70, 80, 90, 95, 98]),
            (0.01, 0.99, 150, [1, 10, 50, 90, 99]),
            (0.762, 0.768, 180, [76.2, 76.4, 76.6, 76.8]),
        ],
    )
    def test_round_and_clear_of_each_other(self, low, high, length, expected):
        assert percent_ticks(logit(low), logit(high), length, upright=False) == expected

    @given(st.floats(-8, 8), st.floats(0.05, 12), st.floats(60, 800), st.booleans())
    def test_any_range(self, low, span, length, upright):
        ticks = percent_ticks(low, low + span, length, upright=upright)
        places = (logit(np.array(ticks) / 100) - low) / span * length
        assert ((places >= -0.01) & (places <= length + 0.01)).all()
        assert len(ticks) <= 8
        gap = 16 if upright else max((text_width(f"{tick:g}%") + 3 for tick in ticks), default=0)
        assert (np.diff(places) >= gap).all()


def test_log_odds_of_all_right_can_be_drawn():
    assert np.isfinite(log_odds([0.0, 1.0, 0.5])).all()
    assert log_odds(0.75) == pytest.approx(np.log(3))


def test_domain():
    assert domain([1.0, np.nan, 3.0], margin=0.1) == pytest.approx((0.8, 3.2))
    assert domain([1.0]) == pytest.approx((0.9, 1.1))
    assert domain([]) == (0.0, 1.0)


boxes = st.tuples(st.floats(0, 200), st.floats(0, 150))


class TestPlace:
    area = np.array([0.0, 0.0, 200.0, 150.0])
    nothing = np.empty((0, 4))

    @settings(max_examples=15)
    @given(st.lists(boxes, min_size=1, max_size=12), st.floats(5, 90))
    def test_never_overlap_and_stay_inside(self, points, width):
        anchors = np.array(points)
        sizes = np.tile([width, 9.0], (len(points), 1))
        placed = place(anchors, sizes, self.area, self.nothing, radius=3.0)
        kept = np.array([box for box in placed if box is not None]).reshape(-1, 4)
        assert overlaps(kept, kept).sum() == len(kept)
        assert (kept[:, :2] >= 0).all()
        assert (kept[:, 2:] <= [200, 150]).all()

    def one(self, *more, width=40.0, **options):
        """The box of one label, its point in the middle."""
        sizes, more = np.array([[width, 9.0]]), more or (self.nothing, 3.0)
        (box,) = place(np.array([[100.0, 75.0]]), sizes, self.area, *more, **options)
        return box

    def test_one_label_stands_beside_its_point(self):
        np.testing.assert_allclose(self.one(), [104.5, 70.5, 144.5, 79.5])

    def test_obstacles_are_kept_clear_of(self):
        right = np.array([[101.0, 0.0, 200.0, 150.0]])
        assert self.one(right, 3.0)[2] <= 101

    def test_strict_labels_keep_off_lines(self):
        bars = np.array([[x, 0.0, x, 150.0] for x in range(0, 200, 20)])
        assert self.one(self.nothing, 3.0, bars) is not None
        assert self.one(self.nothing, 3.0, bars, strict=True) is None

    def test_no_room_no_label(self):
        assert self.one(width=300.0) is None


class TestText:
    def test_elided(self):
        assert elided("short") == "short"
        assert elided("a" * 30 + "z" * 30, 11) == "aaaaa…zzzzz"
        assert elided("two\nlines") == "two lines"

    def test_elided_names_differ_where_they_can(self):
        sizes = [f"vit_base_patch{n}_224.augreg_in21k_ft_in1k" for n in (16, 32)]
        weights = [f"vit_base_patch16_clip_224.{name}_ft_in12k_in1k" for name in ("openai", "x")]
        ends = [f"{'a' * 30}{end}" for end in ("small", "large")]
        for names in (sizes, weights, ends):
            head = telling_head(names)
            assert len({elided(name, head=head) for name in names}) == len(names)
        assert telling_head(["resnet18", "resnet50"]) == telling_head([]) == 13
        assert elided("a" * 30 + "z" * 30, head=13) == elided("a" * 30 + "z" * 30)

    @settings(max_examples=50)
    @given(st.text(max_size=60), st.integers(4, 30), st.integers(1, 4))
    def test_wrapped(self, text, width, most):
        lines = wrapped(text, width, most, len).split("\n")
        assert len(lines) <= most
        assert max(map(len, lines)) <= width

    def test_wrapped_breaks_within_words(self):
        assert wrapped("vit_large_patch14", 10, 3, len) == "vit_large_\npatch14"
        assert wrapped("-BN scale +dropout", 9, 3, len) == "-BN scale\n+dropout"
        assert wrapped("one two three four", 5, 2, len) == "one\ntwo…"

    def test_correlations(self):
        minus = "\N{MINUS SIGN}"
        found = [coefficient(r) for r in (0.9994, 0.9996, -0.9996, 1.0, -1.0, 1 - 1e-15)]
        expected = ["0.999", "> 0.999", f"< {minus}0.999", "1.000", f"{minus}1.000", "1.000"]
        assert found == expected
        assert r_of(0.5, np.nan, np.nan) == "r = 0.500"


class TestFitting:
    @pytest.mark.parametrize("most", [1, 2])
    @pytest.mark.parametrize(
        "name", ["vit_large_patch14_clip_224.openai_ft_in12k", "WWWWWWW " * 9, "iiii" * 40]
    )
    def test_fitted_is_no_wider_than_its_room(self, name, most):
        lines = fitted(name, 110, most=most).split("\n")
        assert len(lines) <= most
        assert max(map(text_width, lines)) <= 110
        assert "…" in "".join(lines)

    def test_what_fits_is_left_alone(self):
        name = "Oxford-IIIT Pets"
        assert fitted(name, text_width(name) + 0.1) == name

    def test_the_middle_goes(self):
        assert fitted("a" * 40 + "z", 80).endswith("z")

    @pytest.mark.parametrize(
        "text", ["Inception-ResNet v2", "Upstream accuracy (%, logit scale)", "0123456789 @#&*"]
    )
    def test_widths_are_those_of_the_font(self, text):
        """Helvetica's, from the metrics that matplotlib ships."""
        folder = pytest.importorskip("matplotlib").get_data_path()
        afm = Path(folder, "fonts", "pdfcorefonts", "Helvetica.afm").read_text()
        found = re.findall(r"^C (\d+) ; WX (\d+)", afm, flags=re.MULTILINE)
        widths = {chr(int(code)): int(width) for code, width in found}
        assert text_width(text, 1000) == sum(widths[letter] for letter in text)


class TestStyles:
    def test_eight_names_have_a_style_each(self):
        styles = marker_styles("abcdefgh")
        assert len({style.colour for style in styles.values()}) == 8
        assert len({style.shape for style in styles.values()}) == 8

    def test_of_more_the_frequent_ones_have(self):
        styles = marker_styles([*"abcdefghij", *"hij"], "others")
        assert {"h", "i", "j"} <= {style.label for style in styles.values()}
        assert [*dict.fromkeys(style.label for style in styles.values())][:3] == ["h", "i", "j"]
        assert len(set(styles.values())) == 8
        assert styles["g"].label == "3 others"
        assert next(reversed(styles.values())).label == "3 others"

    def test_many_classes_differ_in_a_pair(self):
        styles = class_styles(f"class {i:02}" for i in range(64)).values()
        assert len({(style.colour, style.shape) for style in styles}) == 64

    def test_a_setting_looks_the_same_everywhere(self):
        one, other = setting_styles(["finetune"]), setting_styles(["linear", "fine_tuned"])
        assert one["finetune"] == other["fine_tuned"]

    def test_each_setting_has_a_style_of_its_own(self):
        names = ["linear (a)", "linear (b)", "finetune", "scratch", "knn", "zero shot"]
        styles = setting_styles(names)
        assert len({style.colour for style in styles.values()}) == len(names)
        assert len({style.shape for style in styles.values()}) == len(names)
        assert styles["linear (a)"].colour == "var(--blue)"
        assert len(set(setting_styles(map(str, range(20))).values())) <= 20

    def test_flags(self):
        assert flags([True, np.True_, None, np.nan, False]).tolist() == [True, True, *[False] * 3]


class TestSteps:
    @pytest.mark.parametrize("largest", [0.01, 0.2, 0.4286, 3.7])
    def test_a_number_has_one_colour(self, largest):
        limits, colours = residual_steps(largest)
        assert limits == sorted(set(limits))
        assert len(colours) == len(limits) + 1
        # Numbers of two digits: what rounds to one of them lies between the same limits.
        shown = np.arange(-100, 101) / 100
        inside = np.searchsorted(limits, shown)
        np.testing.assert_array_equal(np.searchsorted(limits, shown - 0.004), inside)
        np.testing.assert_array_equal(np.searchsorted(limits, shown + 0.004), inside)
        np.testing.assert_array_equal(inside[::-1], len(limits) - inside)
