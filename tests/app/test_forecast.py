"""What a fill is predicted to take: from its work alone, whatever the machine that runs the tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from neuralpatch_cuda import InpaintConfig, Inpainter
from neuralpatch_cuda.app import forecast as module
from neuralpatch_cuda.app.forecast import Forecast, Plan, Trial, Work, calibrate, shape_of
from neuralpatch_cuda.inpainter import THIN_ITERATIONS, InpaintInfo, Progress, ScaleInfo
from neuralpatch_cuda.synthesis.boxes import Box, bounding_box
from neuralpatch_cuda.synthesis.layout import lay_out
from neuralpatch_cuda.synthesis.pyramid import is_thin
from neuralpatch_cuda.synthesis.windows import grow

CONFIG = InpaintConfig()


def hole_of(*boxes: Box, size: tuple[int, int] = (1000, 1200)) -> torch.Tensor:
    hole = torch.zeros(size, dtype=torch.bool)
    for box in boxes:
        hole[box.slices] = True
    return hole


def square(side: int, top: int = 300, left: int = 300) -> Box:
    return Box(top, left, top + side, left + side)


def changed(config: InpaintConfig, **changes: Any) -> InpaintConfig:
    return InpaintConfig(**(dict(config) | changes))


def run_of(plan: Plan, costs: Work) -> InpaintInfo:
    """A fill as planned, on a machine with these costs."""
    picture = Image.new("RGB", (1, 1))
    info = InpaintInfo()
    for window, scales in enumerate(plan.scales):
        for number, scale in enumerate(scales):
            matchings = len(range(0, scale.iterations, scale.rematch_every or 10**9))
            losses, scores = [0.0] * scale.iterations, [0.0] * matchings
            seconds = float(costs @ scale.done(scale.iterations, matchings))
            info.scales.append(ScaleInfo(window, number, Box(0, 0, 1, 1), picture, losses, scores, (), seconds))
    info.seconds = sum(scale.seconds for scale in info.scales) + float(costs @ plan.rest)
    return info


def learn_run(forecast: Forecast, plan: Plan, costs: Work) -> None:
    info = run_of(plan, costs)
    forecast.learn(plan, info.scales, info.seconds)


@pytest.mark.parametrize(
    "more",
    [
        {"iterations": 90},
        {"iterations": (60, 60, 90)},
        {"fine_iterations": 30},
        {"rematch_every": 5},
        {"feather": 20},
        {"fine_layers": ("relu3_1", "relu4_1")},
        {"layers": ("relu2_1", "relu3_1", "relu4_1")},
    ],
)
def test_more_work_takes_longer(more: dict[str, Any]) -> None:
    forecast, hole = Forecast(), hole_of(square(400))
    assert forecast.plan(changed(CONFIG, **more), hole).seconds > forecast.plan(CONFIG, hole).seconds


def test_a_larger_hole_takes_longer() -> None:
    forecast = Forecast()
    seconds = [forecast.plan(CONFIG, hole_of(square(side))).seconds for side in (20, 100, 200, 400)]
    assert sorted(set(seconds)) == seconds


def test_matching_once_is_quickest() -> None:
    forecast, hole = Forecast(), hole_of(square(200))
    once, twice = (forecast.plan(changed(CONFIG, rematch_every=n), hole).seconds for n in (0, 59))
    assert once < twice


def test_scales_are_planned_as_they_are_done() -> None:
    """Short sides of 128 and 256, which are left out, of 512, and of 800, which is fine."""
    (scales,) = Forecast().plan(changed(CONFIG, iterations=(0, 0, 7), fine_iterations=5), hole_of(square(400))).scales
    assert [scale.iterations for scale in scales] == [0, 0, 7, 5]
    assert not scales[0].whole.any() and scales[2].whole.any()
    (scales,) = Forecast().plan(changed(CONFIG, scales=1), hole_of(square(400))).scales
    assert [scale.iterations for scale in scales] == [20]


@pytest.mark.parametrize("patch_size", [1, 3])
def test_a_hole_is_counted_as_it_is_laid_out(patch_size: int) -> None:
    """Of two holes, in a window whose sides leave a rest of cells: one inside, and one in that rest."""
    hole = hole_of(square(90, 20, 30), Box(202, 100, 203, 140), size=(203, 301))
    shape = shape_of(hole.numpy(), patch_size, (4, 8))
    for stride in (4, 8):
        layout = lay_out(hole, stride, patch_size, torch.ones_like(hole))
        assert layout is not None and shape.queries[stride] == len(layout.query_position)
    assert shape.box == bounding_box(hole) and shape.size == (203, 301)


def test_a_hole_in_the_rest_of_cells_has_no_patch_of_a_cell() -> None:
    assert shape_of(hole_of(Box(202, 100, 203, 140), size=(203, 301)).numpy(), 1, (4, 8)).queries == {}


@pytest.mark.parametrize("width", [1, 7, 8, 9])
@pytest.mark.parametrize("height", [6, 8, 30])
def test_thin_is_what_is_thin_to_the_inpainter(height: int, width: int) -> None:
    hole = hole_of(Box(5, 5, 5 + height, 5 + width), Box(20, 30, 26, 90), size=(100, 100))
    assert shape_of(hole.numpy(), 3, (4,)).thin == is_thin(hole)


def kinds(plan: Plan) -> dict[str, float]:
    """What the finest scale of the first window has to do."""
    return dict(zip(module.COSTS, plan.scales[0][-1].whole, strict=True))


def test_many_pairs_are_left_to_patchmatch() -> None:
    forecast = Forecast()
    hole = hole_of(square(700), size=(1400, 1400))
    assert kinds(forecast.plan(changed(CONFIG, search="patchmatch"), hole))["exact"] == 0
    assert kinds(forecast.plan(changed(CONFIG, search="exact"), hole))["patchmatch"] == 0
    assert kinds(forecast.plan(CONFIG, hole))["patchmatch"] > 0
    assert kinds(forecast.plan(CONFIG, hole_of(square(100))))["patchmatch"] == 0


def test_a_hairline_is_interpolated_and_a_strip_sharpened_at_its_own_scale() -> None:
    hairline, strip = Box(300, 100, 303, 900), Box(600, 100, 607, 900)
    plan = Forecast().plan(CONFIG, hole_of(hairline, strip))
    ((scale,),) = plan.scales
    assert scale.iterations == THIN_ITERATIONS
    amounts = dict(zip(module.COSTS, plan.rest, strict=True))
    assert amounts["interpolated"] == pytest.approx((3 + 7) * 800 / 1e6)
    alone = Forecast().plan(CONFIG, hole_of(hairline))
    assert alone.scales == [] and alone.seconds < plan.seconds / 2
    thick = Forecast().plan(CONFIG, hole_of(hairline, replace(strip, bottom=612)))
    assert plan.seconds < thick.seconds / 2


def test_windows_are_summed() -> None:
    forecast = Forecast()
    first, second = square(100, 100, 100), square(100, 804, 1004)
    one, other, both = (forecast.plan(CONFIG, hole_of(*boxes)) for boxes in ((first,), (second,), (first, second)))
    assert len(both.scales) == 2
    assert one.seconds < both.seconds < one.seconds + other.seconds  # they share one photograph
    scales = [
        sum(float(plan.costs @ scale.whole) for window in plan.scales for scale in window) for plan in (one, both)
    ]
    assert scales[1] == pytest.approx(2 * scales[0])


def test_what_an_earlier_window_has_filled_is_known_to_a_later_one() -> None:
    forecast = Forecast()
    first, second = Box(300, 300, 340, 700), Box(390, 720, 450, 780)
    assert grow(second, CONFIG.context, 1000, 1200).intersects(first)
    both, alone = forecast.plan(CONFIG, hole_of(first, second)), forecast.plan(CONFIG, hole_of(second))
    assert len(both.scales) == 2 and (both.scales[1][-1].whole == alone.scales[0][-1].whole).all()


def test_an_equal_hole_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    monkeypatch.setattr(module, "find_windows", lambda mask, context: looks.append((mask, context)) or [])
    forecast = Forecast()
    for config in (CONFIG, changed(CONFIG, iterations=5), changed(CONFIG, context=0.25)):
        forecast.plan(config, hole_of(square(77)))
    forecast.plan(CONFIG, hole_of(square(78)))
    assert [context for mask, context in looks if mask.any()] == [0.5, 0.25, 0.5]


@pytest.mark.parametrize("factor", [0.02, 2.0, 50.0])
def test_the_machine_s_speed_is_learnt_from_one_fill(factor: float) -> None:
    forecast = Forecast()
    before = forecast.plan(CONFIG, hole_of(square(200)))
    unseen = forecast.plan(CONFIG, hole_of(square(400)))
    learn_run(forecast, before, factor * before.costs)
    assert forecast.plan(CONFIG, hole_of(square(200))).seconds == pytest.approx(factor * before.seconds)
    assert forecast.plan(CONFIG, hole_of(square(400))).seconds == pytest.approx(factor * unseen.seconds)


@pytest.mark.parametrize("kind", ["iteration", "products", "exact", "patchmatch"])
def test_a_kind_of_work_that_is_slower_here_is_learnt(kind: str) -> None:
    forecast = Forecast()
    hole = hole_of(square(200))
    configs = [changed(CONFIG, rematch_every=n, search=search) for n in (0, 2) for search in ("exact", "patchmatch")]
    costs = forecast.plan(CONFIG, hole).costs * [10.0 if each == kind else 1.0 for each in module.COSTS]
    for side in (100, 150, 250, 300):
        for config in configs:
            learn_run(forecast, forecast.plan(config, hole_of(square(side))), costs)
    for config in configs:
        plan = forecast.plan(config, hole)
        assert plan.seconds == pytest.approx(replace(plan, costs=costs).seconds, rel=0.1)


def test_only_what_was_done_is_learnt_of_a_fill_that_ended_early() -> None:
    forecast = Forecast()
    plan = forecast.plan(CONFIG, hole_of(square(200)))
    whole = run_of(plan, plan.costs).scales[0]
    early = plan.scales[0][0].done(13, 2)
    stopped = replace(whole, losses=[0.0] * 13, scores=[0.0] * 2, seconds=3 * float(plan.costs @ early))
    forecast.learn(plan, [stopped], 10**6)
    assert forecast.plan(CONFIG, hole_of(square(200))).seconds == pytest.approx(3 * plan.seconds)


def test_a_fill_that_hung_does_not_spoil_the_forecast() -> None:
    forecast = Forecast()
    plan = forecast.plan(CONFIG, hole_of(square(200)))
    for factor in (1, 1, 1, 1, 10**4):
        learn_run(forecast, plan, factor * plan.costs)
    assert forecast.plan(CONFIG, hole_of(square(200))).seconds < 1.5 * plan.seconds


def test_a_fill_without_scales_changes_nothing_of_theirs() -> None:
    forecast = Forecast()
    plan = forecast.plan(CONFIG, hole_of(square(200)))
    forecast.learn(plan, [], 0.0)
    idle = forecast.plan(changed(CONFIG, iterations=0), hole_of(square(200)))
    forecast.learn(idle, run_of(idle, idle.costs).scales, 0.0)
    assert forecast.plan(CONFIG, hole_of(square(200))).seconds == plan.seconds


def course_of(plan: Plan) -> Iterator[tuple[Progress, float]]:
    """Every event of a fill that goes as planned, and when it comes."""
    begun = 0.0
    for window, scales in enumerate(plan.scales):
        begun += float(plan.costs @ plan.rest) / len(plan.scales)
        for number, scale in enumerate(scales):
            for iteration in range(scale.iterations):
                done = scale.done(iteration + 1, 1 + iteration // scale.rematch_every)
                progress = Progress(window, len(plan.scales), number, len(scales), iteration, scale.iterations, 0.0)
                yield progress, begun + float(plan.costs @ done)
            begun += float(plan.costs @ scale.whole)


@pytest.fixture
def two_windows() -> Plan:
    return Forecast().plan(CONFIG, hole_of(square(100, 50, 50), square(150, 800, 1000)))


def test_the_time_left_falls_to_nothing_when_all_goes_as_planned(two_windows: Plan) -> None:
    course = list(course_of(two_windows))
    assert {progress.window for progress, _ in course} == {0, 1}
    for progress, elapsed in course:
        assert two_windows.left(progress, elapsed) == pytest.approx(two_windows.seconds - elapsed, abs=1e-6)
    assert two_windows.left(*course[0]) > 0.8 * two_windows.seconds


def test_the_time_left_follows_the_pace_of_the_run(two_windows: Plan) -> None:
    course = list(course_of(two_windows))
    progress, elapsed = course[len(course) // 2]
    usual = two_windows.left(progress, elapsed)
    assert 6 * usual < two_windows.left(progress, 10 * elapsed) < 10 * usual
    assert two_windows.left(progress, elapsed / 10) < usual / 2


def test_a_slow_start_says_little(two_windows: Plan) -> None:
    first, _ = next(course_of(two_windows))
    assert two_windows.left(first, 0.0) > 0.5 * two_windows.seconds
    assert two_windows.left(first, 0.1 * two_windows.seconds) < 2 * two_windows.seconds


def test_calibration_learns_from_all_trials_but_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"iterations": 1, "scales": 1}
    trials = Trial(150, small), Trial(150, small), Trial(150, small | {"search": "patchmatch", "fine_side": 100})
    monkeypatch.setattr(module, "TRIALS", trials)
    planned, learnt = [], []

    class Listening(Forecast):
        def plan(self, config: InpaintConfig, hole: torch.Tensor) -> Plan:
            planned.append(config)
            return super().plan(config, hole)

        def learn(self, plan: Plan, scales: Any, seconds: float) -> None:
            learnt.append((plan, scales, seconds))
            super().learn(plan, scales, seconds)

    painter, forecast = Inpainter(changed(CONFIG, invert_mask=True, feather=9, iterations=33), "cpu"), Listening()
    before = forecast.plan(CONFIG, hole_of(square(200))).seconds
    calibrate(painter, forecast)
    assert painter.config.iterations == 33
    assert not any(config.invert_mask or config.feather for config in planned[1:])
    assert [len(scales[0].losses) for _, scales, _ in learnt] == [1, 1]
    assert [kinds(plan)["patchmatch"] > 0 for plan, _, _ in learnt] == [False, True]
    assert forecast.plan(CONFIG, hole_of(square(200))).seconds != before
