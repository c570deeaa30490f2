import json

import numpy as np
import pandas as pd
import pytest
from colour_vision import MACHADO, ciede2000, closest

from lnl_kit import figures
from lnl_kit.figures import lab, style
from lnl_kit.papers import comparison
from lnl_kit.toolbox import metrics

DIGITS = [str(k) for k in range(10)]


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def probs(*shape):
    return softmax(np.random.RandomState(0).randn(*shape) * 3)


def named(fig, name):
    return [t for t in fig.data if t.name == name]


@pytest.mark.parametrize("k", [3, 10])
def test_equiradial_puts_certainty_on_vertices_and_ignorance_in_the_centre(k):
    corner = figures.equiradial(np.eye(k))
    assert np.allclose(np.hypot(*corner.T), 1)
    assert np.allclose(corner[0], (1, 0)) and np.allclose(
        corner[1], (np.cos(2 * np.pi / k), np.sin(2 * np.pi / k))
    )
    assert np.allclose(figures.equiradial(np.full(k, 1 / k)), 0)
    p, by_hand = probs(2, 4, k), np.zeros((2, 4, 2))
    for c in range(k):
        by_hand += p[..., c, None] * corner[c]
    assert np.allclose(figures.equiradial(p), by_hand)


@pytest.mark.parametrize("log", [True, False])
def test_memorization_histogram_counts_every_image(log):
    one, many = np.array([0.0, 1e-9, 0.5, 9.0, 40.0, np.inf]), np.full(7, 0.2)
    fig = figures.memorization_histogram(
        {"one view": one, "views": many}, log=log, num_classes=10, marks={"1": 9.0}
    )
    for name, n, color in (("one view", 6, style.RED), ("views", 7, style.BLUE)):
        (trace,) = named(fig, name)
        assert sum(trace.y[:-1]) == n and trace.line.color == color
        assert trace.y[-1] == trace.y[-2]  # the step of the last bin is drawn to its end
    edges = np.array(named(fig, "views")[0].x)
    b = int(np.argmax(named(fig, "views")[0].y))
    assert edges[b] <= 0.2 <= edges[b + 1]
    assert fig.layout.xaxis.type == ("log" if log else None)


def test_decagon_sorts_images_into_rows_and_colours_policies():
    given, true = np.array([4, 0, 3, 1]), np.array([0, 0, 3, 9])
    seen, unseen = probs(4, 5, 10), probs(4, 8, 10)
    images = np.zeros((4, 1, 16, 16), np.uint8)
    fig = figures.decagon(seen, unseen, DIGITS, given=given, true=true, index=[10, 11, 12, 13], images=images)
    red, blue = named(fig, "views as trained on"), named(fig, "unseen views")
    assert len(red) == len(blue) == 4 and len(fig.layout.images) == 4
    assert [len(t.x) for t in red] == [5] * 4 and [len(t.x) for t in blue] == [8] * 4
    assert red[0].marker.symbol == "cross-thin" and red[0].marker.line.color == style.RED
    # the clean images 11 and 12 come first (top), then the mislabeled ones
    assert [t.hovertext[0].split("<br>")[0] for t in red] == ["image 11", "image 12", "image 10", "image 13"]
    assert "given: 4<br>true: 0" in red[2].hovertext[0]
    assert np.allclose(red[2].x, figures.equiradial(seen[0])[:, 0], atol=1e-3)
    assert sum(bool(t.showlegend) for t in fig.data) == 2


def test_decagon_slider_has_a_step_and_a_frame_per_epoch():
    seen, unseen = probs(3, 2, 5, 10), probs(3, 2, 6, 10)
    fig = figures.decagon_slider([1, 10, 20], seen, unseen, DIGITS, given=[1, 2], true=[3, 4])
    (slider,) = fig.layout.sliders
    assert [s.label for s in slider.steps] == [f.name for f in fig.frames] == ["1", "10", "20"]
    for e, frame in enumerate(fig.frames):
        assert len(frame.data) == len(frame.traces) == 6
        for new, place in zip(frame.data, frame.traces):
            assert new.name == fig.data[place].name and new.mode == fig.data[place].mode
        assert np.allclose(frame.data[2].x, figures.equiradial(seen[e, 0])[:, 0], atol=1e-3)
    assert np.allclose(
        fig.frames[-1].data[5].y, fig.data[fig.frames[-1].traces[5]].y
    )  # it starts at the last epoch
    assert np.allclose(
        [t for t in named(fig, "unseen views") if t.mode == "lines"][1].y, unseen[:, 1, :, 4].mean(1)
    )
    single = figures.decagon_slider([1, 10, 20], seen[:, 0], unseen[:, 0], DIGITS, given=1, true=3)
    assert len(single.frames[0].data) == 3
    with pytest.raises(ValueError, match=r"2 epochs.*3 and 3"):
        figures.decagon_slider([1, 10], seen, unseen, DIGITS, given=[1, 2], true=[3, 4])


def test_reliability_shows_bins_and_ece():
    p, labels = probs(200, 10), np.random.RandomState(1).randint(0, 10, 200)
    fig = figures.reliability({"model": (p, labels), "views": (p[:150], labels[:150])}, bins=10)
    r = metrics.reliability(p, labels, 10)
    (line,) = named(fig, f"model (ECE {metrics.ece(p, labels, 10):.1%})")
    assert np.allclose(line.y, r["accuracy"][r["count"] > 0]) and line.line.color == style.RED
    counts = [t for t in fig.data if t.type == "bar"]
    assert [sum(t.customdata) for t in counts] == [200, 150] and np.isclose(sum(counts[0].y), 1)
    (diagonal,) = named(fig, "perfectly calibrated")
    assert tuple(diagonal.x) == tuple(diagonal.y) == (0, 1)


def test_calibration_of_known_bins_as_a_table_keeps_them():
    p, came_true = np.array([0.05, 0.05, 0.95, 0.95]), np.array([False, True, True, True])
    r = metrics.binned(p, came_true, 10)
    kept = {k: r[k].tolist() for k in ("confidence", "accuracy", "count")}  # NaN where a bin is empty
    fig = figures.calibration({"suspicion": kept}, x="suspicion", y="share wrong")
    (line,) = named(fig, "suspicion (ECE 25.0%)")  # half of .45 off, half of .05
    assert list(line.x) == [0.05, 0.95] and list(line.y) == [0.5, 1.0]
    assert fig.layout.yaxis.title.text == "share wrong" and fig.layout.xaxis2.title.text == "suspicion"


def test_labels_that_would_overlap_are_moved_apart():
    from lnl_kit.figures.charts import apart

    assert apart([0.97, 0.2, 0.96], 0.05).tolist() == pytest.approx([0.99, 0.2, 0.94])
    assert apart([0.5, 0.5, 0.5], 0.1).tolist() == pytest.approx([0.4, 0.5, 0.6]) and len(apart([], 0.1)) == 0


def test_curves_mean_range_best_and_last():
    def rows(*values):
        return [{"epoch": e, "test_accuracy": v} for e, v in enumerate(values, 1)]

    fig = figures.curves({"nrd": [rows(0.5, 0.9, 0.8), rows(0.7, 0.7, 0.6)], "ce": rows(0.5, None, 0.4)})
    (line,) = (t for t in named(fig, "nrd") if t.mode == "lines")
    assert np.allclose(line.y, (0.6, 0.8, 0.7)) and line.line.color == style.BLUE  # its own colour
    area = fig.data[0]
    assert np.allclose(area.y, (0.7, 0.9, 0.8, 0.6, 0.7, 0.5))
    best, last = (t for t in fig.data if t.mode == "markers" and t.legendgroup == "nrd")
    assert best.x == (2,) and np.isclose(best.y[0], 0.8) and last.x == (3,) and np.isclose(last.y[0], 0.7)
    assert [t.text[0] for t in fig.data if t.mode == "text"] == ["<b>  70.0%</b>", "<b>  40.0%</b>"]
    assert named(fig, "ce")[0].x == (1, 3)
    assert fig.layout.yaxis.tickformat == ".0%"
    lowest = figures.curves(
        {"ce": [{"epoch": e, "loss": v} for e, v in ((1, 2.0), (2, 1.0), (3, 3.0))]}, "loss"
    )
    assert next(t for t in lowest.data if t.mode == "markers").x == (2,)
    with pytest.raises(ValueError, match="selection_auc"):
        figures.curves({"ce": rows(0.5)}, "selection_auc")


def test_bars_group_by_colour_and_sort_rates():
    table = [
        dict(rate=r, method=m, test_ece=r / 2 + (m == "ce") / 10, spread=0.01)
        for m in ("ce", "nrd")
        for r in (0.8, 0.2)
    ]
    fig = figures.bars(table, "rate", "test_ece", "method", "spread")
    assert [t.name for t in fig.data] == ["ce", "nrd"]
    assert fig.data[0].x == ("20%", "80%") and np.allclose(fig.data[0].y, (0.2, 0.5))
    assert fig.data[0].error_y.array == (0.01, 0.01)
    assert fig.layout.title.text == "<b>Test ECE by noise rate</b>"
    import pandas as pd

    assert (
        figures.bars(pd.DataFrame(table), "rate", "test_ece", "method", "spread").to_json() == fig.to_json()
    )


def test_a_method_keeps_its_colour_and_no_other_takes_it():
    for names in (("nrd", "ce", "mae"), ("mae", "ce", "nrd")):
        c = style.colors(names)
        assert (c["nrd"], c["ce"]) == (style.BLUE, style.RED) and len(set(c.values())) == 3


def test_transition_heatmap_orientation():
    T = np.eye(3)
    T[0] = (0.6, 0.4, 0)
    fig = figures.transition_heatmap(T, ["a", "b", "c"])
    z = np.array(fig.data[0].z, float)
    assert z[0, 1] == 0.4 and np.isnan(z[1, 0])  # row = true class, and nothing drawn where nothing happens
    assert set(zip(fig.data[1].y, fig.data[1].x, fig.data[1].text)) == {
        ("a", "a", "60"),
        ("a", "b", "40"),
        ("b", "b", "100"),
        ("c", "c", "100"),
    }
    assert fig.layout.yaxis.autorange == "reversed"


def test_image_row_keeps_pixels_crisp():
    import base64
    import io

    from PIL import Image

    image = np.random.RandomState(0).randint(0, 256, (3, 8, 8)).astype(np.uint8)
    fig = figures.image_row(np.stack([image, image, image]), ["x", "view 1", "view 2"], columns=2)
    assert len(fig.layout.images) == 3 and fig.layout.images[2].y < fig.layout.images[0].y
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(fig.layout.images[0].source.split(",")[1]))))
    times = picture.shape[0] // 8
    assert times > 1 and (picture[::times, ::times].transpose(2, 0, 1) == image).all()
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) <= 64  # enlarging made no new colours
    with pytest.raises(ValueError, match="3 images but 1 titles"):
        figures.image_row(np.stack([image] * 3), ["x"])


def test_beside_table_prints_percent_spread_and_what_was_measured():
    runs = [
        dict(
            method="nrd",
            dataset="digits",
            noise="symmetric",
            rate=0.4,
            seed=s,
            preset="quick",
            epochs=60,
            device="cpu",
            seconds=60,
            test_accuracy_last=0.9 + s / 50,
            test_accuracy_best=0.95,
        )
        for s in (0, 1)
    ]
    table = comparison.beside(runs, "nrd", "Table 2", dataset_map={"digits": "cifar10"}, missing=True)
    fig = figures.beside_table(table)
    cells = fig.data[0]
    columns = dict(zip(cells.header["values"], cells.cells["values"]))
    measured = [k for k, v in enumerate(columns["last %"]) if v != "–"]
    assert [columns[c][measured[0]] for c in ("method", "noise", "published %", "last %", "minutes")] == [
        "nrd",
        "symmetric 40%",
        "94.65",
        "91.00 ± 1.41",
        "1.0",
    ]
    assert "measured on digits; cpu" in fig.layout.title.subtitle.text, (
        "what is the same everywhere is said once"
    )
    assert len(measured) == 1 < len(columns["method"])


def every_figure():
    p = probs(2, 4, 10)
    rows = [dict(epoch=1, test_accuracy=0.5, rate=0.2)]
    return [
        figures.memorization_histogram({"a": np.ones(3)}),
        figures.curves({"a": rows}),
        figures.bars(rows, "rate", "test_accuracy"),
        figures.transition_heatmap(np.eye(10), DIGITS),
        figures.reliability({"a": (p[0], np.zeros(4, int))}),
        figures.image_row(np.zeros((1, 1, 8, 8), np.uint8), ["x"]),
        figures.decagon(p, p, DIGITS, given=[0, 1], true=[0, 2]),
        figures.decagon_slider([1, 2], p, p, DIGITS, given=1, true=2),
    ]


def test_every_figure_has_the_template_a_left_title_and_survives_json():
    for fig in every_figure():
        template = fig.layout.template.layout
        assert template.paper_bgcolor == "rgba(0,0,0,0)" and template.title.x == 0
        assert fig.layout.title.text.startswith("<b>") and fig.layout.height > 100
        assert json.loads(fig.to_json())["data"]


def contrast(color, ground):
    def luminance(c):
        parts = [int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    one, two = sorted((luminance(color), luminance(ground)))
    return (two + 0.05) / (one + 0.05)


def test_text_and_colours_read_on_white_and_on_dark():
    for ground in ("#ffffff", "#111111"):
        assert contrast(style.TEXT, ground) >= 4
        assert min(contrast(c, ground) for c in style.PALETTE) >= 3


@pytest.mark.parametrize("vision", MACHADO)
def test_colours_are_apart_for_everybody(vision):
    assert closest(style.PALETTE, vision)[0] >= 10
    assert closest(style.CLASSES, vision)[0] >= 8
    low, middle, high = (color for _, color in lab.RISE)
    assert closest((low, middle, high), vision)[0] >= 10


def test_the_measure_finds_a_bad_palette_and_agrees_with_its_authors():
    """Red and green of the same lightness; and the palette that the kit had once."""
    assert (
        closest(("#c8553d", "#7d8b2a"), "normal")[0]
        > 30
        > 10
        > closest(("#c8553d", "#7d8b2a"), "deuteranopia")[0]
    )
    assert (
        closest(("#2f7fc4", "#9d68c2"), "normal")[0]
        > 20
        > 5
        > closest(("#2f7fc4", "#9d68c2"), "protanopia")[0]
    )
    assert (
        closest(("#159a70", "#3c97a8"), "normal")[0]
        > 15
        > 5
        > closest(("#159a70", "#3c97a8"), "tritanopia")[0]
    )
    for one, two, printed in (  # Sharma, Wu, Dalal (2005), Table 1
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ):
        assert ciede2000(one, two) == pytest.approx(printed, abs=1e-4)
    for matrix in MACHADO.values():
        assert matrix.sum(1) == pytest.approx(np.ones(3), abs=1e-4)  # greys stay grey


def test_save_png(tmp_path):
    fig = figures.curves({"a": [dict(epoch=1, test_accuracy=0.5)]})
    path = tmp_path / "new" / "figure.png"
    if not figures.save_png(fig, path, scale=1, width=300):
        pytest.skip("no Chrome or Chromium that kaleido can start")
    from PIL import Image

    picture = Image.open(path).convert("RGB")
    assert picture.width == 300 and picture.getpixel((1, 1)) == (255, 255, 255)
    assert fig.layout.paper_bgcolor is None  # the figure itself is left alone


def test_save_png_without_a_browser_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    fig = figures.curves({"a": [dict(epoch=1, test_accuracy=0.5)]})
    assert figures.save_png(fig, tmp_path / "figure.png") is False


def test_transition_pairs_show_true_classes_as_columns():
    made, estimate = np.array([[0.0, 1.0], [0.25, 0.75]]), np.array([[0.1, 0.9], [0.5, 0.5]])
    fig = figures.transition_pairs({"a": (made, estimate), "b": (made, estimate)}, ["x", "y"])
    assert len(fig.data) == 4 and fig.layout.coloraxis.cmax == 0.9
    assert np.array_equal(fig.data[0].z, made.T) and np.array_equal(fig.data[1].z, estimate.T)
    assert fig.layout.xaxis3.title.text == "true class" and fig.layout.yaxis.title.text == "given label"


def test_score_slider_counts_both_kinds_at_every_epoch():
    right = np.array([True, True, False, False, False])
    scores = np.array([[0.1, 0.2, 0.1, 0.2, np.nan], [0.9, 0.8, 0.1, 0.7, 0.2]])
    fig = figures.score_slider([1, 5], scores, right, bins=10)
    assert [int(sum(t.y)) for t in fig.data] == [2, 3] and [int(sum(t.y)) for t in fig.frames[0].data] == [
        2,
        2,
    ]
    assert "100% above" in fig.data[0].name and "33% above" in fig.data[1].name
    assert "AUC 1.000" in fig.layout.title.text and "AUC 0.500" in fig.frames[0].layout.title.text
    narrow = figures.score_slider([1, 5], scores, right, bins=2, span=(0.1, 0.9))
    assert [list(t.y) for t in narrow.data] == [[0, 2], [2, 1]] and narrow.data[0].width == pytest.approx(0.4)
    with pytest.raises(ValueError, match="epochs"):
        figures.score_slider([1], scores, right)


def test_embedding_draws_every_image_in_its_class_colour():
    xy, labels = np.random.RandomState(0).randn(12, 2), np.arange(12) % 3
    fig = figures.embedding(
        {"one": xy, "two": -xy},
        labels,
        ["a", "b", "c"],
        texts={"one": [str(i) for i in range(12)], "two": [f"-{i}" for i in range(12)]},
    )
    assert len(fig.data) == 6 and [t.showlegend for t in fig.data] == [True] * 3 + [False] * 3
    assert fig.data[1].customdata.tolist() == [1, 4, 7, 10] and fig.data[1].hovertext == ("1", "4", "7", "10")
    assert fig.data[1].marker.color == fig.data[4].marker.color != fig.data[0].marker.color
    assert np.allclose(fig.data[4].x, -xy[[1, 4, 7, 10], 0])


def test_embedding_colours_each_panel_by_its_own_labels():
    xy = np.random.RandomState(0).randn(6, 2)
    fig = figures.embedding(
        {"given": xy, "true": xy}, {"given": [0, 1, 0, 1, 0, 1], "true": [0, 0, 0, 1, 1, 1]}, ["a", "b"]
    )
    assert [t.customdata.tolist() for t in fig.data] == [[0, 2, 4], [1, 3, 5], [0, 1, 2], [3, 4, 5]]


def test_tsne_keeps_groups_apart():
    from lnl_kit.notebook.embedding import tsne

    features = np.concatenate(
        [np.random.RandomState(0).randn(20, 8), 30 + np.random.RandomState(1).randn(20, 8)]
    )
    xy = tsne(features)
    centre = [xy[:20].mean(0), xy[20:].mean(0)]
    assert np.linalg.norm(centre[0] - centre[1]) > 3 * np.linalg.norm(xy[:20] - centre[0], axis=1).mean()
    assert np.array_equal(xy, tsne(features)) and tsne(features[:9]).shape == (9, 2)


def test_class_names_are_text_whatever_they_contain():
    """No figure carries a class name's markup, nor its escaped form twice."""
    from lnl_kit.notebook.noise_lab import Lab

    names = ("<img src=x onerror=alert(1)>", "a & b", "<b>c</b>")
    probs, y = np.full((6, 3), 1 / 3), np.array([0, 1, 2, 0, 1, 2])
    given, images = np.array([1, 1, 2, 0, 1, 0]), np.zeros((6, 1, 4, 4), np.uint8)
    lab = Lab(
        "ce",
        "symmetric",
        (0.5,),
        names,
        given[None],
        y,
        y,
        np.zeros((1, 1)),
        np.zeros((1, 1)),
        probs[None],
        probs[None],
    )
    views = np.repeat(probs[:, None], 4, 1)
    made = [
        figures.transition_heatmap(np.eye(3), names),
        figures.transition_pairs({"n": (np.eye(3), np.eye(3))}, names),
        figures.decagon(views, views, names, given=given, true=y),
        figures.decagon_slider(
            [1, 2], np.stack([views] * 2), np.stack([views] * 2), names, given=given, true=y
        ),
        figures.embedding(
            {"a": np.zeros((6, 2))}, y, names, texts={"a": figures.hover(range(6), given, y, names)}
        ),
        figures.class_counts(given, y, names),
        figures.label_wall(images, given, y, names),
        figures.lab_decagon(lab, 0.5),
        figures.lab_confusion(lab, 0.5),
        figures.opinion(probs[0], 1, names, 0),
    ]
    for fig in made:
        text = json.dumps(json.loads(fig.to_json()), ensure_ascii=False)
        assert (
            "<img" not in text and "<b>c</b>" not in text and "amp;lt" not in text and "amp;amp" not in text
        )
        assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_a_table_shows_text_as_text_and_what_is_missing():
    rows = [
        {"class": "<b>4</b>", "last": 0.12345, "seconds": 12.3},
        {"class": "7", "last": None, "seconds": 1.0},
    ]
    page = figures.table_of(rows, "a < b", formats={"seconds": "{:.0f}"}, missing="–").to_html()
    assert "&lt;b&gt;4&lt;/b&gt;" in page and "<b>4" not in page and "a &lt; b" in page
    assert ">0.123<" in page and ">12<" in page and ">–<" in page and "row_heading" not in page
    with pytest.raises(ValueError, match="column 'minutes', but there are class, last, seconds"):
        figures.table_of(rows, formats={"minutes": "{:.0f}"})


def test_a_table_of_two_levels_names_its_rows_and_rates():
    wide = pd.DataFrame([[0.5, 3.0]], ["<i>"], pd.MultiIndex.from_tuples([(0.4, "last"), (0.4, "seeds")]))
    page = figures.table_of(wide, formats={"seeds": "{:.0f}"}).to_html()
    assert ">0.4<" in page and ">0.500<" in page and ">3<" in page and "&lt;i&gt;" in page
