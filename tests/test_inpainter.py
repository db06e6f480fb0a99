"""The whole algorithm, on a crop of the example photograph and with few iterations."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageDraw
from scipy import ndimage

from neuralpatch_cuda import InpaintConfig, Inpainter, inpaint
from neuralpatch_cuda.errors import DeviceError, ImageError, MaskError, NetworkError
from neuralpatch_cuda.imaging.images import to_rgb
from neuralpatch_cuda.inpainter import THIN_ITERATIONS, Progress, at_scale
from neuralpatch_cuda.synthesis.boxes import Box
from neuralpatch_cuda.synthesis.scale import synthesise
from neuralpatch_cuda.synthesis.windows import find_windows

PHOTO = Path(__file__).parents[1] / "examples" / "photo.jpg"


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    with Image.open(PHOTO) as image:
        return image.convert("RGB").resize((300, 200))


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    mask = np.zeros((200, 300), np.bool_)
    mask[60:130, 100:160] = mask[90:120, 150:190] = True
    return mask


@pytest.fixture(scope="module")
def painter() -> Inpainter:
    return Inpainter(InpaintConfig(iterations=4, rematch_every=2))


def test_only_the_hole_changes(painter: Inpainter, photo: Image.Image, mask: np.ndarray) -> None:
    filled = np.asarray(painter(photo, mask))
    original = np.asarray(photo)
    assert (filled[~mask] == original[~mask]).all()
    assert (filled[mask] != original[mask]).any(-1).mean() > 0.9


def test_the_result_does_not_depend_on_what_was_in_the_hole(
    painter: Inpainter, photo: Image.Image, mask: np.ndarray
) -> None:
    other = np.array(photo)
    other[mask] = 255 - other[mask]
    assert (np.asarray(painter(photo, mask)) == painter(other, mask)).all()


@pytest.mark.parametrize("jobs", [1, 2])
def test_map_keeps_the_order_and_goes_on_after_errors(
    painter: Inpainter, photo: Image.Image, mask: np.ndarray, jobs: int
) -> None:
    other = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    def pairs() -> Iterator[tuple[Image.Image, np.ndarray]]:
        yield photo, mask
        yield photo, np.zeros_like(mask)
        yield other, mask
        yield photo.resize((30, 20)), mask

    results = list(painter.map(pairs(), jobs))
    assert [type(result) for result in results] == [Image.Image, MaskError, Image.Image, MaskError]
    for image, result in ((photo, results[0]), (other, results[2])):
        assert (np.asarray(result) == np.asarray(painter(image, mask))).all()


def test_an_error_of_the_pairs_themselves_ends_map(painter: Inpainter) -> None:
    def pairs() -> Iterator[tuple[Image.Image, np.ndarray]]:
        raise OSError("The disk is gone.")
        yield

    with pytest.raises(OSError, match="The disk is gone"):
        next(painter.map(pairs()))


def test_several_threads_may_use_one_painter(painter: Inpainter, photo: Image.Image, mask: np.ndarray) -> None:
    alone = np.asarray(painter(photo, mask))
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: painter(photo, mask), range(8)):
            assert (np.asarray(result) == alone).all()


def test_runs_are_repeatable_and_types_agree(painter: Inpainter, photo: Image.Image, mask: np.ndarray) -> None:
    from_pil = painter(photo, Image.fromarray(mask))
    array = np.array(photo)
    from_numpy = painter(array, mask)
    from_torch = painter(torch.from_numpy(array).permute(2, 0, 1), torch.from_numpy(mask))
    assert isinstance(from_pil, Image.Image)
    assert (np.asarray(from_pil) == from_numpy).all()
    assert (from_torch.permute(1, 2, 0).numpy() == from_numpy).all()


def test_noise_depends_on_the_seed(photo: Image.Image, mask: np.ndarray) -> None:
    def fill(seed: int) -> np.ndarray:
        return np.asarray(inpaint(photo, mask, iterations=2, noise=0.05, seed=seed))

    first = fill(1)
    assert (first == fill(1)).all() and (first != fill(2)).any()


def test_info_tells_the_course_of_the_run(painter: Inpainter, photo: Image.Image, mask: np.ndarray) -> None:
    events: list[Progress] = []
    result = painter(photo, mask, return_info=True, callback=events.append)
    (coarse, fine) = result.info.scales
    assert (coarse.size, fine.size) == ((128, 141), (198, 218))
    assert len(coarse.losses) == 4 and len(coarse.scores) == 2
    assert [(e.scale, e.iteration) for e in events] == [(s, i) for s in range(2) for i in range(4)]
    assert [e.loss for e in events] == [coarse.losses[0]] * 4 + [fine.losses[0]] * 4
    assert result.info.seconds >= coarse.seconds + fine.seconds > 0


def test_a_callback_can_end_the_run(painter: Inpainter, photo: Image.Image, mask: np.ndarray) -> None:
    result = painter(photo, mask, return_info=True, callback=lambda event: event.iteration < 1)
    assert [len(scale.losses) for scale in result.info.scales] == [2, 0]
    assert (np.asarray(result.image)[~mask] == np.asarray(photo)[~mask]).all()


def test_distant_holes_are_filled_each_in_its_own_window(painter: Inpainter) -> None:
    with Image.open(PHOTO) as image:
        photo = image.convert("RGB").resize((700, 500))
    mask = np.zeros((500, 700), np.bool_)
    mask[40:60, 40:70] = mask[430:450, 600:640] = True
    result = painter(photo, mask, return_info=True)
    assert {scale.window for scale in result.info.scales} == {0, 1}
    filled, original = np.asarray(result.image), np.asarray(photo)
    assert (filled[~mask] == original[~mask]).all() and (filled[mask] != original[mask]).any(-1).mean() > 0.9


def test_only_windows_are_brought_to_floating_point(
    painter: Inpainter, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def measured(image: Image.Image, **options: Any) -> torch.Tensor:
        sizes.append(image.size)
        return to_rgb(image, **options)

    monkeypatch.setattr("neuralpatch_cuda.inpainter.to_rgb", measured)
    wide = photo.resize((3000, 2000))
    mask = np.zeros((2000, 3000), np.bool_)
    mask[300:330, 400:430] = mask[1500:1520, 2500:2540] = True
    filled = np.asarray(painter(wide, mask))
    assert sizes == [(158, 158), (168, 148)]
    assert (filled[~mask] == np.asarray(wide)[~mask]).all()


def test_a_scratch_thinner_than_the_coarse_pixels_is_filled(painter: Inpainter, photo: Image.Image) -> None:
    mask = np.zeros((200, 300), np.bool_)
    mask[100, 20:280] = True
    filled = np.asarray(painter(photo, mask)).astype(int)
    expected = np.asarray(photo).astype(int)
    assert np.abs(filled - expected)[mask].mean() < 20


def test_feather_blends_outside_the_hole_only_as_far_as_asked(photo: Image.Image, mask: np.ndarray) -> None:
    original = np.asarray(photo).astype(int)
    distance = ndimage.distance_transform_edt(~mask)
    sharp, soft = (np.asarray(inpaint(photo, mask, iterations=1, feather=feather)) for feather in (0, 8))
    assert (sharp[~mask] == original[~mask]).all()
    assert (soft[distance > 8] == original[distance > 8]).all()
    changes = [np.abs(soft - original)[(distance > r) & (distance <= r + 2)].mean() for r in (0, 2, 4, 6)]
    assert changes[0] > 2 and changes[0] > changes[1] > changes[2] > changes[3]


def test_patches_come_from_the_source_mask_alone() -> None:
    """The hole is in a plain wall, the source, far away from it, is striped."""
    pixels = np.full((160, 480, 3), 120, np.uint8)
    pixels[:, 240:] = np.where(np.arange(240) // 4 % 2, 200, 60)[None, :, None]
    mask, source = np.zeros((2, 160, 480), np.bool_)
    mask[60:100, 70:110] = True
    source[:, 300:] = True
    painter = Inpainter(InpaintConfig(iterations=30, content_weight=0))

    def contrast(filled: np.ndarray) -> float:
        return float(filled[62:98, 72:108].astype(float).std())

    assert contrast(painter(pixels, mask)) < 5
    filled = painter(pixels, mask, source_mask=source)
    assert contrast(filled) > 20
    assert (filled[~mask] == pixels[~mask]).all()


def test_another_photograph_shows_what_the_hole_hides(photo: Image.Image, mask: np.ndarray) -> None:
    other = photo.crop((60, 20, 260, 180))  # from another place, but with what the mask covers
    original = np.asarray(photo).astype(float)

    def error(**options: Any) -> float:
        filled = np.asarray(inpaint(photo, mask, iterations=20, rematch_every=5, content_weight=1, **options))
        return float(np.square(filled - original)[mask].mean())

    assert error(exemplars=[other]) < 0.65 * error()
    assert error(exemplars=[other], search="patchmatch") < 0.65 * error()


def test_scratches_are_interpolated(photo: Image.Image) -> None:
    mask = Image.new("L", photo.size)
    draw = ImageDraw.Draw(mask)
    for i in range(12):
        draw.line([(20 * i, 10 * i), (20 * i + 40, 180 - 12 * i)], fill=255, width=1 + i % 3)
    hole = np.asarray(mask) > 0
    original = np.asarray(photo).astype(float)
    result = Inpainter()(np.where(hole[..., None], np.uint8(255), np.asarray(photo)), hole, return_info=True)
    assert not result.info.scales
    error = np.square(result.image - original)[hole].mean()
    assert error < 0.06 * np.square(original - original[~hole].mean(0))[hole].mean()


def test_a_spot_on_a_scratch_is_synthesised_and_the_scratch_is_not(photo: Image.Image) -> None:
    hole = np.zeros((200, 300), np.bool_)
    hole[100:102, 10:290] = hole[40:190, 220:226] = True
    hole[90:112, 60:84] = True
    result = Inpainter()(np.where(hole[..., None], np.uint8(255), np.asarray(photo)), hole, return_info=True)
    spot, strip = result.info.scales[0], result.info.scales[-1]
    assert spot.box.contains(Box(90, 60, 112, 84)) and len(spot.losses) == InpaintConfig().iterations
    assert strip.box.contains(Box(40, 220, 190, 226)) and len(strip.losses) == THIN_ITERATIONS
    original = np.asarray(photo).astype(float)
    assert (result.image[~hole] == original[~hole]).all()
    error = np.square(result.image - original)[hole].mean()
    assert error < 0.25 * np.square(original - original[~hole].mean(0))[hole].mean()


def test_fine_scales_do_with_less(photo: Image.Image, mask: np.ndarray) -> None:
    options = {"iterations": 3, "fine_side": 150, "fine_iterations": 2, "context": 5}
    coarse, fine = Inpainter(InpaintConfig(**options))(photo, mask, return_info=True).info.scales
    assert (len(coarse.losses), coarse.layers) == (3, ("relu3_1", "relu4_1"))
    assert (len(fine.losses), fine.layers) == (2, ("relu3_1",))
    _, fine = Inpainter(InpaintConfig(**options, layers="relu4_1"))(photo, mask, return_info=True).info.scales
    assert fine.layers == ("relu4_1",)


def test_an_oriented_photograph_is_filled_upright(painter: Inpainter, photo: Image.Image, mask: np.ndarray) -> None:
    lying = photo.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned clockwise by a quarter
    stored = BytesIO()
    lying.save(stored, "PNG", exif=exif)
    filled = painter(Image.open(stored), mask)
    assert (np.asarray(filled) == np.asarray(painter(photo, mask))).all()
    assert ExifTags.Base.Orientation not in filled.getexif()


def test_what_is_no_image_is_refused(painter: Inpainter, mask: np.ndarray) -> None:
    with pytest.raises(TypeError, match="not str"):
        painter("photo.png", mask)  # type: ignore[call-overload]


def test_a_source_mask_must_mark_something_of_the_image(painter: Inpainter, photo: Image.Image) -> None:
    mask = np.zeros((200, 300), np.bool_)
    mask[60:90, 100:130] = True
    with pytest.raises(MaskError, match="source mask is empty"):
        painter(photo, mask, source_mask=np.zeros_like(mask))
    with pytest.raises(MaskError, match="The source mask is 299 x 200 px"):
        painter(photo, mask, source_mask=mask[:, 1:])
    with pytest.raises(MaskError, match="The source mask marks no known pixel"):
        painter(photo, mask, source_mask=mask)


def with_hole(height: int, width: int, *box: int) -> np.ndarray:
    """A mask with a hole from one pixel to another: top, left, bottom, right."""
    hole = np.zeros((height, width), np.bool_)
    hole[box[0] : box[2], box[1] : box[3]] = True
    return hole


ROWS, COLUMNS = np.mgrid[:96, :120]

WITHOUT_PATCHES = {
    "an icon": (with_hole(24, 24, 7, 7, 16, 16), "smaller ones"),
    "a large hole": (with_hole(32, 32, 10, 10, 21, 21), "smaller ones"),
    "a row of pixels": (with_hole(40, 60, 1, 0, 40, 60), "content network"),
    "squares with narrow gaps": ((ROWS % 18 < 10) & (COLUMNS % 18 < 10), "smaller ones"),
    "one known pixel": (~with_hole(70, 50, 3, 4, 4, 5), "content network"),
    "a few pixels": (with_hole(5, 9, 1, 1, 4, 6), None),
    "one row": (with_hole(1, 50, 0, 20, 1, 31), None),
    "a grid of lines": ((ROWS % 12 < 2) | (COLUMNS % 12 < 2), None),
    "every second row": (ROWS % 2 == 1, None),
    "salt": (np.random.default_rng(0).random((96, 120)) < 0.5, None),
}
"""Holes that leave no clean patch, and what the warning says."""


@pytest.mark.filterwarnings("ignore:The mask covers")
@pytest.mark.parametrize("name", WITHOUT_PATCHES)
def test_without_known_patches_the_next_best_is_done(photo: Image.Image, name: str) -> None:
    hole, told = WITHOUT_PATCHES[name]
    original = np.asarray(photo.resize(hole.shape[::-1]))
    painter = Inpainter(InpaintConfig(iterations=5))
    expected = pytest.warns(UserWarning, match=f"no patch of known pixels .*; .*{told}") if told else nullcontext()
    with expected as warned:
        filled = painter(np.where(hole[..., None], np.uint8(255), original), hole)
    assert told is None or sum("no patch" in str(each.message) for each in warned) == 1
    assert (filled[~hole] == original[~hole]).all()
    if told is None:
        error, spread = filled[hole].astype(int) - original[hole], original.astype(int) - original.mean((0, 1))
        assert np.abs(error).mean() < 0.7 * np.abs(spread).mean()
    assert filled[hole].std() > 0


@pytest.mark.filterwarnings("ignore:The mask covers")
@pytest.mark.parametrize("network", ["content-adv", "exemplar", "combined"])
def test_every_content_network_has_something_for_small_images(photo: Image.Image, network: str) -> None:
    painter = Inpainter(InpaintConfig(content_network=network, iterations=1))
    for size in (16, 19, 32):
        hole = with_hole(size, size, 3, 3, size - 5, size - 4)
        with pytest.warns(UserWarning, match="no patch of known pixels"):
            filled = painter(np.asarray(photo.resize((size, size))), hole)
        assert filled[hole].std() > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_a_clear_error() -> None:
    with pytest.raises(DeviceError, match="CUDA"):
        Inpainter(device="cuda")


def test_unknown_devices_are_refused() -> None:
    for device in ("tpu9", "mps"):
        with pytest.raises(DeviceError, match="auto, cpu, cuda"):
            Inpainter(device=device)


def test_values_per_scale_repeat_the_last() -> None:
    assert [at_scale((5, 3), scale) for scale in range(3)] == [5, 3, 3]
    assert at_scale(7, 2) == 7


# Content networks of other makers


@dataclass
class Ramp:
    """Paints columns from black to white, from the left edge to the right one, and keeps what it was given."""

    calls: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)

    def __call__(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        self.calls.append((image, mask))
        return torch.linspace(0, 1, image.shape[-1]).expand_as(image)


@pytest.mark.parametrize("step", [(40, 40), (1, 90), (150, 1)], ids=["points", "columns", "rows"])
@pytest.mark.filterwarnings("ignore:The mask covers", "ignore:Near a hole")
def test_what_is_known_is_too_thin_for_the_content_network(painter: Inpainter, step: tuple[int, int]) -> None:
    rows, columns = np.mgrid[:300, :320]
    ramp = np.stack([rows / 299, columns / 319, 0.2 + 0 * rows], -1)
    hole = (rows % step[0] > 0) | (columns % step[1] > 0)
    nearest = ndimage.distance_transform_edt(hole, return_distances=False, return_indices=True)
    error = np.abs(painter(ramp, hole) - ramp)[hole].mean()
    assert error < 1.25 * np.abs(ramp[tuple(nearest)] - ramp)[hole].mean()


WHOLE = {"context": 5, "iterations": 0}
"""Options with which the window is the whole image, and its content network's guess is the result."""


def test_what_a_foreign_network_paints_is_the_result(photo: Image.Image, mask: np.ndarray) -> None:
    expected = np.broadcast_to((np.linspace(0, 255, 304)[None, :300, None]), (200, 300, 3))
    filled = np.asarray(inpaint(photo, mask, content_network=Ramp(), scales=1, **WHOLE))
    assert np.abs(filled - expected)[mask].max() <= 0.51
    assert (filled[~mask] == np.asarray(photo)[~mask]).all()

    filled = np.asarray(inpaint(photo, mask, content_network=Ramp(), **WHOLE))
    inside = ndimage.binary_erosion(mask, iterations=8)  # through the coarsest scale, away from what is known
    assert np.abs(filled - expected)[inside].max() < 3


def test_a_foreign_network_sees_the_window_at_512_px() -> None:
    with Image.open(PHOTO) as image:
        photo = image.convert("RGB").resize((900, 700))
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1) / 255
    hole = torch.zeros(700, 900, dtype=torch.bool)
    hole[200:400, 300:500] = True
    ramp = Ramp()
    painter = Inpainter(InpaintConfig(content_network=ramp))
    guess = painter.predict_content(pixels, hole)
    assert guess.shape == (3, 512, 658)
    ((seen, mask),) = ramp.calls
    assert (seen.shape, mask.shape) == ((1, 3, 512, 664), (1, 1, 512, 664))
    assert seen.dtype == mask.dtype == torch.float32
    assert seen.min() >= 0 and seen.max() <= 1
    rows, columns = slice(147, 292), slice(220, 365)  # the hole, but for its rim
    assert (mask[..., rows, columns] == 1).all() and (seen[..., rows, columns] == 0).all()
    assert mask.sum() == pytest.approx(200 * 200 * (512 / 700) ** 2, rel=0.02)
    whole = torch.nn.functional.interpolate(pixels[None], (512, 658), mode="bilinear", antialias=True)
    known = mask[..., :658] == 0
    assert (seen[..., :658] - whole)[known.expand_as(whole)].abs().mean() < 0.002
    assert torch.equal(guess[:, ~known[0, 0]][0], torch.linspace(0, 1, 664)[known[0, 0].logical_not().nonzero()[:, 1]])
    assert (guess[:, known[0, 0]] == seen[0, :, :, :658][:, known[0, 0]]).all()


@pytest.mark.parametrize(("side", "sizes"), [(None, (200, 128)), (96, (96, 96)), (1000, (200, 200))])
def test_content_side(photo: Image.Image, mask: np.ndarray, side: int | None, sizes: tuple[int, int]) -> None:
    pixels, hole = torch.from_numpy(np.array(photo)).permute(2, 0, 1) / 255, torch.from_numpy(mask)
    for network, size in zip((Ramp(), "default"), sizes, strict=True):
        painter = Inpainter(InpaintConfig(content_network=network, content_side=side))
        guess = painter.predict_content(pixels.to(painter.device), hole.to(painter.device))
        assert guess.shape == (3, size, round(1.5 * size))


def test_a_foreign_network_is_not_told_what_was_in_the_hole(photo: Image.Image, mask: np.ndarray) -> None:
    other = np.array(photo)
    other[mask] = 255 - other[mask]
    first, second = Ramp(), Ramp()
    for network, image in ((first, np.array(photo)), (second, other)):
        inpaint(image, mask, content_network=network, **WHOLE)
    assert torch.equal(first.calls[0][0], second.calls[0][0])


def test_values_outside_the_range_are_clamped(photo: Image.Image, mask: np.ndarray) -> None:
    filled = inpaint(photo, mask, content_network=lambda image, mask: torch.full_like(image, 1.1), scales=1, **WHOLE)
    assert (np.asarray(filled)[mask] == 255).all()


def test_options_go_on_top_of_a_configuration_with_a_callable(photo: Image.Image, mask: np.ndarray) -> None:
    ramp = Ramp()
    inpaint(photo, mask, config=InpaintConfig(content_network=ramp, context=5), iterations=0)
    assert len(ramp.calls) == 1


def test_a_foreign_network_is_sharpened_as_any_other(photo: Image.Image, mask: np.ndarray) -> None:
    def flat(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.full_like(image, 0.5)

    filled = np.asarray(inpaint(photo, mask, content_network=flat, iterations=4))
    assert filled[mask].std() > 5


def test_a_foreign_network_that_returns_no_image(photo: Image.Image, mask: np.ndarray) -> None:
    painter = Inpainter(InpaintConfig(content_network=lambda image, mask: image[..., 4:]))
    with pytest.raises(NetworkError, match=r"must return a float tensor \[1, 3, "):
        painter(photo, mask)


BRIEF = {"device": "cpu", "precision": "fp32", "iterations": 4, "rematch_every": 2, "scales": 1}


def test_a_smaller_budget_gives_the_same_picture(photo: Image.Image, mask: np.ndarray) -> None:
    filled = [inpaint(photo, mask, memory_budget=budget, **BRIEF) for budget in (None, "1MB")]
    assert (np.asarray(filled[0]) == np.asarray(filled[1])).all()


def test_a_gpu_that_is_out_of_memory_goes_on_in_smaller_tiles(
    photo: Image.Image, mask: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = inpaint(photo, mask, **BRIEF)
    real, budgets = synthesise, []

    def synthesise_with_little(network, image, hole, settings, *others):
        budgets.append(settings.memory_budget)
        if settings.memory_budget is None or settings.memory_budget > 3e8:
            raise torch.OutOfMemoryError
        return real(network, image, hole, settings, *others)

    monkeypatch.setattr("neuralpatch_cuda.inpainter.synthesise", synthesise_with_little)
    monkeypatch.setattr("neuralpatch_cuda.inpainter.default_budget", lambda device: 10**9)
    filled = inpaint(photo, mask, **BRIEF)
    assert budgets[:3] == [None, 5 * 10**8, 25 * 10**7]
    assert "ran out of memory" in caplog.text
    assert (np.asarray(filled) == np.asarray(expected)).all()

    monkeypatch.setattr("neuralpatch_cuda.inpainter.LEAST_BUDGET", 4 * 10**8)
    with pytest.raises(DeviceError, match="too little memory"):
        inpaint(photo, mask, **BRIEF)


# What is in the hole does not matter


BAD = {"nan": np.nan, "inf": np.inf, "minus inf": -np.inf, "no data": -9999.0, "large": 3e38}


def as_kind(pixels: np.ndarray, kind: str) -> Any:
    """Float pixels `[H, W, 3]` as an image of a kind."""
    if kind == "PIL":
        return Image.fromarray(pixels[..., 0].astype(np.float32))
    if kind.startswith("tensor"):
        return torch.from_numpy(pixels.transpose(2, 0, 1).astype(kind.split()[1]))
    return pixels[..., 0].astype(np.float32) if kind == "gray" else pixels.astype(kind)


def as_array(image: Any) -> np.ndarray:
    return image.numpy() if isinstance(image, torch.Tensor) else np.asarray(image)


KINDS = ["float32", ">f4", "float64", "gray", "PIL", "tensor float32", "tensor float64", "tensor float16"]


@pytest.fixture(scope="module")
def small(photo: Image.Image) -> np.ndarray:
    return np.asarray(photo.resize((96, 64))) / 255


@pytest.fixture(scope="module")
def small_hole() -> np.ndarray:
    hole = np.zeros((64, 96), np.bool_)
    hole[20:34, 30:50] = hole[25:30, 45:60] = True
    return hole


@pytest.mark.parametrize("kind", KINDS)
def test_nan_in_the_hole_is_filled(painter: Inpainter, small: np.ndarray, small_hole: np.ndarray, kind: str) -> None:
    wanted = as_array(painter(as_kind(np.where(small_hole[..., None], 0, small), kind), small_hole))
    assert np.isfinite(wanted).all()
    for value in (np.nan, np.inf) if kind != "float32" else BAD.values():
        image = as_kind(np.where(small_hole[..., None], value, small), kind)
        assert (as_array(painter(image, small_hole)) == wanted).all()


def test_nan_in_a_part_of_the_hole_and_in_some_channels(
    painter: Inpainter, small: np.ndarray, small_hole: np.ndarray
) -> None:
    image = small.copy()
    image[22:25, 35:40, 1] = np.nan
    image[20, 30] = np.inf, -np.inf, 7
    assert (painter(image, small_hole) == painter(small, small_hole)).all()


@pytest.mark.parametrize(
    "options",
    [
        {"feather": 4, "mask_dilate": 2},
        {"content_network": "combined", "noise": 0.1},
        {"content_network": "exemplar", "optimizer": "adam"},
        {"content_network": "content-adv", "search": "patchmatch", "memory_budget": "1MB"},
        {"scales": 1, "iterations": 0, "content_side": 48},
        {"invert_mask": True},
    ],
    ids=str,
)
def test_nan_reaches_nothing(options: dict[str, Any], small: np.ndarray, small_hole: np.ndarray) -> None:
    config = InpaintConfig(**({"iterations": 2} | options))
    source = np.zeros_like(small_hole)
    source[:, 25:] = True  # the hole, too, where nothing can be taken from
    further: dict[str, Any] = {"source_mask": source, "exemplars": [small[:, ::-1].copy()]}
    mask = ~small_hole if config.invert_mask else small_hole
    painter = Inpainter(config)
    wanted = painter(small, mask, **further)
    assert (painter(np.where(small_hole[..., None], np.nan, small), mask, **further) == wanted).all()
    assert np.isfinite(wanted).all()


def test_nan_in_another_windows_hole(painter: Inpainter, photo: Image.Image) -> None:
    image = np.asarray(photo.resize((260, 260))) / 255
    holes = np.zeros(image.shape[:2], np.bool_)
    holes[60:74, 60:74] = holes[121:135, 121:135] = True
    boxes = [window.box for window in find_windows(torch.from_numpy(holes), painter.config.context)]
    assert len(boxes) == 2
    assert all(box.contains(Box(60, 60, 135, 135)) for box in boxes)
    source = np.ones_like(holes)
    for further in ({}, {"source_mask": source}):
        wanted = painter(image, holes, **further)
        assert (painter(np.where(holes[..., None], np.nan, image), holes, **further) == wanted).all()


def test_nan_alpha_in_the_hole_becomes_opaque(painter: Inpainter, small: np.ndarray, small_hole: np.ndarray) -> None:
    alpha = np.linspace(0, 1, small_hole.size).reshape(*small_hole.shape, 1)
    image = np.concatenate([small, alpha], 2).astype(np.float32)
    wanted = painter(image, small_hole)
    assert (wanted[..., 3] == image[..., 3]).all()
    image[small_hole] = np.nan
    for filled in (painter(image, small_hole), as_array(painter(torch.from_numpy(image).permute(2, 0, 1), small_hole))):
        filled = filled if filled.shape[2] == 4 else filled.transpose(1, 2, 0)
        assert (filled[..., :3] == wanted[..., :3]).all()
        assert (filled[small_hole][:, 3] == 1).all()
        assert (filled[~small_hole] == image[~small_hole]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_nan_among_known_pixels_is_an_error(small: np.ndarray, small_hole: np.ndarray, kind: str) -> None:
    image = small.copy()
    image[small_hole] = np.nan
    image[34, 40] = np.inf
    painter = Inpainter(InpaintConfig(iterations=1, feather=3))  # which is within what is blended
    with pytest.raises(ImageError, match=r"NaN or infinite values outside the hole; .* or let the mask cover them"):
        painter(as_kind(image, kind), small_hole)


def test_nan_in_an_exemplar_is_an_error(painter: Inpainter, small: np.ndarray, small_hole: np.ndarray) -> None:
    bad = small.copy()
    bad[3, 4, 1] = np.nan
    with pytest.raises(ImageError, match=r"Exemplar 2 cannot be used: The image has NaN or infinite values; replace"):
        painter(small, small_hole, exemplars=[small, bad])
