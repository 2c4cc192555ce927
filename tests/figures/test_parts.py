"""Ticks, names, looks, and places of labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit

from headstart.figures import text_fitting as fonts
from headstart.figures.logit_axes import limits, log_odds, percent_ticks
from headstart.figures.panels import legend_columns, point_handles
from headstart.figures.plot_tables import flags
from headstart.figures.point_labels import overlaps, place
from headstart.figures.style import marker_styles, new_figure, setting_styles
from headstart.figures.text_fitting import (
    FONT,
    elided,
    estimate_text,
    families,
    fitted,
    number,
    text_width,
    wrapped,
)
from headstart.spec.display_names import correlation_label


class TestPercentTicks:
    @pytest.mark.parametrize(
        ("low", "high", "points", "expected"),
        [
            (0.715, 0.81, 180, [72, 74, 76, 78, 80]),
            (0.40, 0.985, 250, [40, 50, 60, 70, 80, 90, 95, 98]),
            (0.01, 0.99, 160, [1, 10, 50, 90, 99]),
            (0.762, 0.768, 100, [76.2, 76.4, 76.6, 76.8]),
        ],
    )
    def test_round_and_clear_of_each_other(self, low, high, points, expected):
        assert percent_ticks(logit(low), logit(high), points, upright=False) == expected

    @given(st.floats(-8, 8), st.floats(0.05, 12), st.floats(40, 500), st.booleans())
    def test_any_range(self, low, span, points, upright):
        ticks = percent_ticks(low, low + span, points, upright=upright)
        places = (logit(np.array(ticks) / 100) - low) / span * points
        assert ((places >= -0.01) & (places <= points + 0.01)).all()
        assert len(ticks) <= 8
        gap = 9.5 if upright else max((4.2 * len(f"{tick:g}") + 5 for tick in ticks), default=0)
        assert (np.diff(places) >= gap).all()


def test_log_odds_of_all_right_can_be_drawn():
    assert np.isfinite(log_odds([0.0, 1.0, 0.5])).all()
    assert log_odds(0.75) == pytest.approx(np.log(3))


def test_limits():
    assert limits([1.0, np.nan, 3.0], margin=0.1) == pytest.approx((0.8, 3.2))
    assert limits([1.0]) == pytest.approx((0.9, 1.1))


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

    def test_one_label_stands_beside_its_point(self):
        (box,) = place(
            np.array([[100.0, 75.0]]), np.array([[40.0, 9.0]]), self.area, self.nothing, radius=3.0
        )
        np.testing.assert_allclose(box, [104, 70.5, 144, 79.5])

    def test_obstacles_are_kept_clear_of(self):
        right = np.array([[101.0, 0.0, 200.0, 150.0]])
        (box,) = place(
            np.array([[100.0, 75.0]]), np.array([[40.0, 9.0]]), self.area, right, radius=3.0
        )
        assert box[2] <= 101

    def test_strict_labels_keep_off_lines(self):
        anchors, sizes = np.array([[100.0, 75.0]]), np.array([[40.0, 9.0]])
        bars = np.array([[x, 0.0, x, 150.0] for x in range(0, 200, 20)])
        look = (self.area, self.nothing, 3.0, bars)
        (box,) = place(anchors, sizes, *look)
        assert box is not None
        assert place(anchors, sizes, *look, strict=True) == [None]

    def test_no_room_no_label(self):
        sizes = np.array([[300.0, 9.0]])
        assert place(np.array([[100.0, 75.0]]), sizes, self.area, self.nothing, radius=3.0) == [
            None
        ]


class TestText:
    def test_elided(self):
        assert elided("short") == "short"
        assert elided("a" * 30 + "z" * 30, 11) == "aaaaa…zzzzz"
        assert elided("two\nlines") == "two lines"

    @settings(max_examples=50)
    @given(st.text(max_size=60), st.integers(4, 30), st.integers(1, 4))
    def test_wrapped(self, text, width, most):
        lines = wrapped(text, width, most).split("\n")
        assert len(lines) <= most
        assert max(map(len, lines)) <= width

    def test_wrapped_breaks_within_words(self):
        assert wrapped("vit_large_patch14", 10) == "vit_large_\npatch14"
        assert wrapped("-BN scale +dropout", 9) == "-BN scale\n+dropout"
        assert wrapped("one two three four", 5, most=2) == "one\ntwo…"

    def test_number(self):
        assert number(-0.456) == "\N{MINUS SIGN}0.46"
        assert number(-0.001, sign=True) == "0.00"
        assert number(float("nan")) == "\N{EN DASH}"

    def test_estimate_without_interval(self):
        assert estimate_text("r", 0.5, float("nan"), float("nan")) == "r = 0.500"

    def test_correlation_label(self):
        minus = "\N{MINUS SIGN}"
        said = [correlation_label(r) for r in (0.9994, 0.9996, -0.9996, 1.0, -1.0, 1 - 1e-15)]
        assert said == ["0.999", "> 0.999", f"< {minus}0.999", "1.000", f"{minus}1.000", "1.000"]
        assert correlation_label(-0.0004) == "0.000"


class TestFonts:
    def test_fitted_is_as_wide_as_its_room(self):
        for name in ("vit_large_patch14_clip_224.openai_ft_in12k", "WWWWWWW " * 9, "iiii" * 30):
            for most in (1, 2):
                lines = fitted(name, 70, 7, most=most).split("\n")
                assert len(lines) <= most
                assert max(text_width(line, 7) for line in lines) <= 70
                assert "…" in "".join(lines)

    def test_what_fits_is_left_alone(self):
        assert fitted("Oxford-IIIT Pets", text_width("Oxford-IIIT Pets", 7) + 0.1, 7) == (
            "Oxford-IIIT Pets"
        )

    def test_the_middle_goes(self):
        assert fitted("a" * 40 + "z", 50, 7).endswith("z")

    def test_a_font_is_found_for_what_ours_lacks(self):
        assert families("ResNet") == [FONT]
        assert families("\N{CJK UNIFIED IDEOGRAPH-6A21}")[0] == FONT

    def test_an_installed_font_stands_in(self, monkeypatch):
        letter = "\N{CJK UNIFIED IDEOGRAPH-6A21}"

        def lacks(path, characters):
            return characters - {letter} if "DejaVuSerif.ttf" in path else characters

        monkeypatch.setattr(fonts, "lacking", lacks)
        fonts.fallbacks.cache_clear()
        assert families(letter) == [FONT, "DejaVu Serif"]
        fonts.fallbacks.cache_clear()

    def test_fonts_of_symbols_do_not_stand_in(self):
        names = {font.name for font in fonts.upright_fonts()}
        assert "DejaVu Sans" in names
        assert not [name for name in names if "Last Resort" in name or name == "cmsy10"]


class TestLooks:
    def test_seventy_names_look_different(self):
        looks = marker_styles(f"name {i:02}" for i in range(70))
        assert len({(mark.colour, mark.shape) for mark in looks.values()}) == 70

    def test_a_setting_looks_the_same_everywhere(self):
        assert (
            setting_styles(["finetune"])["finetune"]
            == setting_styles(["linear", "fine_tuned"])["fine_tuned"]
        )

    def test_two_linear_settings_look_different(self):
        one, other = setting_styles(["linear (a)", "linear (b)"]).values()
        assert one.colour != other.colour
        assert one.shape != other.shape

    def test_flags(self):
        assert flags([True, np.True_, None, np.nan, False]).tolist() == [True, True, *[False] * 3]


def test_legend_is_as_wide_as_the_page():
    handles = point_handles(marker_styles(["a" * 10, "b" * 10, "c" * 10, "d" * 40]))
    assert legend_columns(handles, 7.0) == 4
    assert legend_columns(handles, 4.0) == 2
    assert legend_columns(handles, 1.0) == 1


def test_note_stands_below_what_is_drawn():
    figure = new_figure(2.0, note="word " * 60)
    assert figure.get_figheight() > 2.2
    axes = figure.add_subplot()
    figure.draw_without_rendering()
    assert axes.get_tightbbox().y0 >= figure.texts[0].get_window_extent().y1
