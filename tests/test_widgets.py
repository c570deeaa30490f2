import json

import plotly.graph_objects as go
import pytest

import lnl_kit
from lnl_kit import widgets
from lnl_kit.notebook import explore as exploring


@pytest.fixture
def calls():
    return []


@pytest.fixture
def draw(calls):
    def draw(rate=0.5, noise="b", steps=2):
        calls.append((rate, noise, steps))
        if rate > 0.85:
            raise ValueError("rate <too large>")
        kind = go.Bar if noise == "c" else go.Scatter
        return go.Figure(kind(y=[rate] * steps, name=noise), layout=dict(title=f"{noise} {rate}"))

    return draw


@pytest.fixture
def in_jupyter(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    monkeypatch.delenv("LNL_HEADLESS", raising=False)


def test_live_needs_a_session_that_is_not_headless(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.delenv("LNL_HEADLESS", raising=False)
    assert not widgets.live()
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    assert widgets.live()
    monkeypatch.setenv("LNL_HEADLESS", "1")
    assert not widgets.live()


def test_headless_draws_once_at_the_defaults(draw, calls, monkeypatch):
    monkeypatch.setenv("LNL_HEADLESS", "1")
    fig = widgets.explore(draw, rate=(0, 0.9, 0.1), noise=["a", "b"], steps=(3, 5, 1))
    assert type(fig) is go.Figure
    assert calls == [(0.5, "b", 3)]  # steps' own default 2 is out of range: its first value


@pytest.mark.parametrize("spec", [(0, 1), (1, 0, 0.1), (0, 1, 0), [], "ab", ("a", "b", "c")])
def test_a_wrong_slider_is_refused_before_drawing(draw, calls, spec):
    with pytest.raises(ValueError, match="slider rate"):
        widgets.explore(draw, rate=spec)
    assert calls == []


def test_live_sliders_redraw_the_same_figure_widget(draw, calls, in_jupyter):
    box = widgets.explore(draw, rate=(0, 0.9, 0.1), noise=["a", "b", "c"], steps=(2, 5, 1))
    controls, shown, error, _ = box.children
    rate, noise, steps = controls.children
    assert [type(c).__name__ for c in controls.children] == ["FloatSlider", "Dropdown", "IntSlider"]
    assert isinstance(shown, go.FigureWidget) and (rate.value, noise.value, steps.value) == (0.5, "b", 2)
    rate.value = 0.7
    assert calls[-1] == (0.7, "b", 2) and shown.data[0].y == (0.7, 0.7) and shown.layout.title.text == "b 0.7"
    noise.value = "c"  # another kind of trace
    assert shown.data[0].type == "bar" and len(shown.data) == 1 and shown.data[0].name == "c"
    steps.value = 3
    assert len(shown.data[0].y) == 3
    rate.value = 0.9  # fn fails: one line, and the last figure stays
    assert "rate &lt;too large&gt;" in error.value and "\n" not in error.value and len(shown.data[0].y) == 3
    rate.value = 0.2
    assert error.value == "" and shown.data[0].y == (0.2, 0.2, 0.2)


def test_the_hovered_image_appears_beside_the_figure(in_jupyter, monkeypatch):
    import numpy as np
    from plotly.callbacks import Points

    images = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 4, 4), np.uint8)
    fig = go.Figure(go.Scatter(x=[0, 1], y=[0, 1], customdata=[2, 0], hovertext=["image 2", "image 0"]))
    shown, picture = widgets.beside_image(fig, images).children
    assert picture.value == ""
    for point, text in ((0, "image 2"), (1, "image 0")):
        shown.data[0]._dispatch_on_hover(Points(point_inds=[point], trace_index=0), None)
        assert text in picture.value
    from lnl_kit.figures.views import png_uri

    assert png_uri(images[0], 128) in picture.value
    monkeypatch.setenv("LNL_HEADLESS", "1")
    assert widgets.beside_image(fig, images) is fig


def test_several_figures_move_together_and_each_takes_its_own_values(in_jupyter, monkeypatch):
    drawn = []

    def first(rate=0.1):
        drawn.append(("first", rate))
        return go.Figure(go.Bar(y=[rate]))

    def second(rate=0.1, noise="a"):
        drawn.append(("second", rate, noise))
        return go.Figure(go.Bar(y=[rate]), layout_title_text=noise)

    controls, one, two, _error, _names = widgets.explore(
        [first, second], rate=(0, 0.9, 0.1), noise=["a", "b"]
    ).children
    drawn.clear()
    controls.children[0].value = 0.5
    assert drawn == [("first", 0.5), ("second", 0.5, "a")] and one.data[0].y == two.data[0].y == (0.5,)
    drawn.clear()
    controls.children[1].value = "b"
    assert drawn == [("second", 0.5, "b")] and two.layout.title.text == "b"  # the first does not depend on it
    monkeypatch.setenv("LNL_HEADLESS", "1")
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    last = widgets.explore([first, second], rate=(0, 0.9, 0.1), noise=["a", "b"])
    assert (
        type(last) is go.Figure and last.layout.title.text == "a" and [type(f) for f in shown] == [go.Figure]
    )


def count_to(n, seconds=0.0):
    """Work for a Training: n epochs, each handing over what is known so far."""

    def work(on_epoch):
        import time

        for k in range(n):
            time.sleep(seconds)
            try:
                on_epoch(list(range(k + 1)))
            except KeyboardInterrupt:
                return k + 1
        return n

    return work


def line(so_far):
    return go.Figure(go.Scatter(y=so_far))


def test_a_training_is_watched_in_the_background_and_gives_its_result(in_jupyter):
    training = widgets.Training(count_to(3, 0.05), 3, line, lambda result: list(range(result)))
    assert training.result() == 3
    row, figure = training.box.children
    bar, button, words = row.children
    assert (
        bar.value == 3
        and words.value == "finished after 3 epochs"
        and button.disabled
        and len(figure.data[0].y) == 3
    )


def test_stop_ends_a_training_after_its_epoch_and_keeps_the_result(in_jupyter):
    training = widgets.Training(count_to(1000, 0.02), 1000, line, lambda result: list(range(result)))
    while training._count < 2:
        pass
    training.box.children[0].children[1].click()
    assert 2 <= training.result() < 100 and "stopped after" in training.box.children[0].children[2].value


def test_a_training_that_fails_says_so_where_its_result_is_asked_for(in_jupyter, monkeypatch):
    def work(on_epoch):
        raise ValueError("rate 2 is outside [0, 1]")

    training = widgets.Training(work, 3, line)
    with pytest.raises(ValueError, match="rate 2"):
        training.result()
    monkeypatch.setenv("LNL_HEADLESS", "1")
    with pytest.raises(ValueError, match="rate 2"):
        widgets.Training(work, 3, line)


def test_headless_a_training_is_done_when_it_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("LNL_HEADLESS", "1")
    training = widgets.train("ce", epochs=2, train_size=256, out=tmp_path)
    assert len(training.result().metrics) == 2
    again = widgets.train(
        "ce", epochs=2, train_size=256, out=tmp_path
    )  # loaded: the curve is that of the finished run
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    again._ipython_display_()
    assert len(shown[0].data[-1].x) in (1, 2) and again.result().folder == training.result().folder
    lab = widgets.train_rates("ce", rates=(0.0, 0.5), epochs=1, train_size=256, out=tmp_path).result()
    assert lab.test_accuracy.shape == (1, 2)


def test_explorers_work_on_any_run_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LNL_HEADLESS", "1")
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    with pytest.raises(ValueError, match=r"no finished run in .*lnl train ce"):
        widgets.pick_run(tmp_path)
    run = lnl_kit.train("ce", epochs=2, train_size=256, out=tmp_path, progress=False)
    curve = widgets.pick_run(tmp_path, metrics=("test_accuracy",))
    assert run.metrics[-1]["test_accuracy"] in [y for trace in curve.data for y in trace.y]
    assert (
        "no transition_error"
        in widgets.pick_run(tmp_path, metrics=("transition_error",)).layout.annotations[0].text
    )
    histogram, gon = widgets.histogram_by_epoch(run), widgets.decagon_by_epoch(run)
    assert [t.name for t in histogram.data] == ["wrong labels", "right labels"]
    assert "epoch 2" in histogram.layout.title.subtitle.text and "epoch 2" in gon.layout.title.subtitle.text
    assert sum(len(t.x) for t in gon.data if t.mode == "markers" and t.name) == 256
    opinion = widgets.inspect_images(run)
    score = run.arrays["clean_score"]
    first = int(score.argmin())  # the most suspicious
    assert list(opinion.data[0].y) == pytest.approx(list(run.arrays["train_probs"][first]))
    assert f"given <b>{run.labels['given'][first]}</b>" in opinion.layout.title.subtitle.text
    assert f"Image {run.labels['index'][first]}" in shown[0].layout.title.text


def test_the_noise_lab_draws_every_figure_headless(tmp_path, monkeypatch):
    monkeypatch.setenv("LNL_HEADLESS", "1")
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    panel = widgets.NoiseLab("gce", rate=0.45, rates=(0.0, 0.5), epochs=1, train_size=256, out=tmp_path)
    panel._ipython_display_()
    assert len(shown) == 6 and "50%" in shown[1].layout.title.subtitle.text and panel.result().method == "gce"


def test_the_noise_lab_trains_what_is_chosen_and_slides_without_training(tmp_path, in_jupyter):
    panel = widgets.NoiseLab("ce", rates=(0.0, 0.5), epochs=1, train_size=256, out=tmp_path)
    panel.result()
    assert panel._slider.value == 0.5 and not panel._menu.disabled
    accuracy = panel._shown[0]
    panel._slider.value = 0.0
    assert "at 0%" in accuracy.layout.title.subtitle.text and set(panel._labs) == {"ce"}
    panel._menu.value = "mae"
    assert panel.result().method == "mae" and set(panel._labs) == {"ce", "mae"}
    assert "mae" in accuracy.layout.title.subtitle.text
    panel._menu.value = "ce"  # at once
    assert "ce" in accuracy.layout.title.subtitle.text and panel._menu.disabled is False


def test_a_figure_put_in_place_of_another_is_that_figure():
    """Whatever came or went: annotations, images, shapes, a title, an axis, a property of a trace."""
    one = go.Figure(
        go.Scatter(x=[1, 2], y=[3, 4], marker=dict(color=["red", "blue"], size=9), text=["a", "b"]),
        layout=dict(
            title=dict(text="one", subtitle=dict(text="sub")),
            annotations=[dict(text="x", x=1, y=1)],
            xaxis=dict(range=[0, 1], title="x"),
            height=300,
        ),
    )
    two = go.Figure(
        go.Scatter(x=[5], y=[6], name="n"),
        layout=dict(
            title_text="two",
            images=[dict(source="data:,", x=0, y=0)],
            shapes=[dict(type="line", x0=0, x1=1)],
            yaxis_type="log",
        ),
    )
    shown = go.FigureWidget(one)
    for figure in (two, one, two, go.Figure(go.Bar(y=[1])), one):
        exploring._put(figure, shown)
        there, wanted = (without_empty(json.loads(f.to_json())) for f in (shown, figure))
        for trace in there["data"]:
            trace.pop("uid", None)
        assert there == wanted


def without_empty(value):
    """A nest of dictionaries and lists without what holds nothing."""
    if isinstance(value, dict):
        return {k: w for k, v in value.items() if (w := without_empty(v)) not in ({}, [], None)}
    return [without_empty(v) for v in value] if isinstance(value, list) else value
