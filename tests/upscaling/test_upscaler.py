from __future__ import annotations

import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

import vernier
from vernier.engines.openvino.engine import new_core
from vernier.errors import InputError
from vernier.imaging import imresize, resized_length
from vernier.io import Picture, PictureError, picture_size, read_picture, write_picture
from vernier.metrics import psnr
from vernier.upscaling import Paper, Size, Upscaler, picture_of
from vernier.upscaling import upscaler as upscaler_module
from vernier.upscaling.upscaler import plan_scales
from vernier.zoo import available_scales, cards, get_entry, list_models, load_model

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
Photo = Callable[..., np.ndarray]


@pytest.fixture
def named(weights: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model that comes with weights for x2 and x4, but not x3."""
    for scale in (2, 4):
        for suffix in (".safetensors", ".json"):
            shutil.copy(weights[scale].with_suffix(suffix), tmp_path)
    monkeypatch.setattr(cards, "WEIGHTS_FOLDER", tmp_path)
    return "sesr-m3"


def test_damaged_weights_of_the_package_are_refused(named: str, tmp_path: Path) -> None:
    path = tmp_path / "sesr-m3-x2.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # of an array: the file is still readable
    path.write_bytes(data)
    for engine in ("openvino", "torch"):
        with pytest.raises(InputError, match="is damaged: its sha256 is not that of its card"):
            Upscaler(named, scale=2, engine=engine)
    assert Upscaler(named, scale=4).scale == 4


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 4), (33, 47)])
@pytest.mark.parametrize("scale", [1.5, 2, 3, 4, 5, 8])
def test_the_size_is_the_one_asked_for(
    scale: float, size: tuple[int, int], named: str, photo: Photo
) -> None:
    for channels, dtype in ((1, np.uint8), (4, np.uint16), (3, np.float32)):
        result = Upscaler(named, scale=scale).upscale_array(photo(*size, channels, dtype))
        expected = (resized_length(size[0], scale), resized_length(size[1], scale), channels)
        assert (result.shape, result.dtype) == (expected, dtype)


def test_everything_but_the_pixels_is_kept(weights: dict[int, Path], photo: Photo) -> None:
    picture = Picture(
        photo(8, 9, 3),
        icc_profile=b"profile",
        metadata={"exif": b"exif"},
        source_format="png",
        density=(3.0, 4.0),
    )
    result = Upscaler(weights[2]).upscale(picture).picture
    assert (result.height, result.width) == (16, 18)
    for name in ("icc_profile", "metadata", "source_format", "density"):
        assert getattr(result, name) == getattr(picture, name)


def test_gray_runs_on_its_own_values(weights: dict[int, Path], photo: Photo) -> None:
    gray = photo(30, 40, 1)
    upscaler = Upscaler(weights[2], engine="torch")
    network, _ = load_model(weights[2])
    with torch.inference_mode():
        expected = network(torch.from_numpy(gray / 255.0).float().permute(2, 0, 1)[None])[0, 0]
    result = upscaler.upscale_array(gray)
    np.testing.assert_array_equal(result[..., 0], torch.round(expected * 255).byte().numpy())
    np.testing.assert_array_equal(upscaler.upscale_array(gray[..., 0]), result[..., 0])


@pytest.mark.parametrize(
    ("scale", "offered", "chain"),
    [
        (2, (2, 3, 4), [2]),
        (1.5, (2, 4), [2]),
        (3, (2, 4), [4]),
        (3, (2,), [2]),
        (4, (2,), [2, 2]),
        (6, (2, 3, 4), [3, 2]),
        (8, (2, 4), [4, 2]),
        (5, (2, 4), [4]),
        (10, (2, 4), [4, 2]),
        (64, (4,), [4, 4, 4]),
    ],
)
def test_plan_scales(scale: float, offered: tuple[int, ...], chain: list[int]) -> None:
    assert plan_scales(scale, offered) == chain


@pytest.mark.parametrize(("scale", "network"), [(3, 4), (1.5, 2), (5, 4)])
def test_a_scale_between_is_the_networks_result_resized(
    scale: float, network: int, named: str, weights: dict[int, Path], photo: Photo
) -> None:
    pixels = photo(21, 34, 3)
    upscaler = Upscaler(named, scale=scale, engine="torch")
    exact = Upscaler(weights[network], engine="torch").upscale_array(
        (pixels / np.float32(255)).astype(np.float32)
    )
    expected = imresize(torch.from_numpy(exact).permute(2, 0, 1), scale / network)
    expected = expected.clamp(0, 1).permute(1, 2, 0).numpy() * 255
    # Half a level of rounding, and the 16-bit steps in between.
    np.testing.assert_allclose(upscaler.upscale_array(pixels), expected, atol=0.52)
    direction = "down" if network > scale else "up"
    assert upscaler.upscale(Picture(pixels)).notes == (
        f"sesr-m3 has no weights for x{scale:g}: runs x{network}, "
        f"then bicubic {direction} to x{scale:g}",
    )


def test_networks_are_chained(named: str, weights: dict[int, Path], photo: Photo) -> None:
    pixels = photo(11, 14, 3, np.uint16)
    upscaler = Upscaler(named, scale=8, precision="fp32")
    by_hand = pixels
    for scale in (4, 2):
        by_hand = Upscaler(weights[scale], precision="fp32").upscale_array(by_hand)
    np.testing.assert_array_equal(upscaler.upscale_array(pixels), by_hand)
    notes = ("sesr-m3 has no weights for x8: runs x4, then x2",)
    assert upscaler.upscale(Picture(pixels)).notes == notes
    assert Upscaler(named, scale=4).upscale(Picture(pixels)).notes == ()


def test_the_default_scale_is_two_or_the_only_one(named: str, weights: dict[int, Path]) -> None:
    assert Upscaler(named).scale == 2
    assert Upscaler(weights[3]).scale == 3


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("channels", [1, 4])
def test_the_ensemble_turns_with_the_picture(
    engine: str, channels: int, weights: dict[int, Path], photo: Photo
) -> None:
    pixels = photo(23, 31, channels, np.float32)
    upscaler = Upscaler(weights[2], engine=engine, ensemble=True)  # type: ignore[arg-type]
    alone = Upscaler(weights[2], engine=engine)  # type: ignore[arg-type]
    result = upscaler.upscale_array(pixels)
    turns = [lambda x: np.rot90(x), lambda x: x[::-1], lambda x: np.rot90(x[:, ::-1], 3)]
    for turn in turns:
        np.testing.assert_allclose(upscaler.upscale_array(turn(pixels)), turn(result), atol=2e-6)
        assert (
            np.abs(alone.upscale_array(turn(pixels)) - turn(alone.upscale_array(pixels))).max()
            > 1e-3
        )
    mean = np.mean(
        [
            np.rot90(alone.upscale_array(np.rot90(pixels[:, ::f], k)), -k)[:, ::f]
            for k in range(4)
            for f in (1, -1)
        ],
        axis=0,
    )
    np.testing.assert_allclose(result, mean, atol=2e-6)


def test_the_ensemble_rounds_once(weights: dict[int, Path], photo: Photo) -> None:
    pixels = photo(20, 24, 3)
    upscaler = Upscaler(weights[2], ensemble=True, precision="fp32")
    exact = upscaler.upscale_array((pixels / np.float32(255)).astype(np.float32))
    np.testing.assert_allclose(upscaler.upscale_array(pixels), exact * 255, atol=0.501)


def test_light_beyond_white_is_kept(weights: dict[int, Path]) -> None:
    pixels = np.full((12, 12, 3), 0.5, np.float32)
    pixels[4:8, 4:8] = 4.0
    pixels[0, 0] = np.nan
    result = Upscaler(weights[2]).upscale_array(pixels)
    # Nothing is known of a pixel, and nothing is of the four that it becomes.
    assert np.isnan(result[:2, :2]).all()
    assert np.isfinite(result).sum() == result.size - 12
    assert 3 < result[12, 12, 0] <= 4


def test_settings_and_pixels_that_cannot_be_used_are_refused(weights: dict[int, Path]) -> None:
    for scale in (1, 0.5, 0, -2, float("nan"), float("inf")):
        with pytest.raises(InputError, match="scale must be a number above 1"):
            Upscaler(weights[2], scale=scale)
    with pytest.raises(InputError, match="tile must be"):
        Upscaler(weights[2], tile=-3)
    with pytest.raises(InputError, match="tiles of 8 pixels would spend nearly all time"):
        Upscaler(weights[2], tile=8)
    with pytest.raises(InputError, match="did you mean 'sesr-m5'"):
        Upscaler("sesr-m55")
    with pytest.raises(InputError, match=r"missing\.safetensors: no such file"):
        Upscaler("missing.safetensors")
    upscaler = Upscaler(weights[2])
    with pytest.raises(InputError, match="expected a numpy array, got list"):
        upscaler.upscale_array([[1]])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected pixels"):
        upscaler.upscale_array(np.zeros((4, 4, 5), np.uint8))
    with pytest.raises(InputError, match="got int64"):
        upscaler.upscale_array(np.zeros((4, 4, 3), np.int64))


def test_a_result_beyond_the_memory_is_refused_before_any_work(
    weights: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upscaler_module, "available_memory", lambda *_: 100_000)
    with pytest.raises(InputError, match=r"1000x1000 pixels, needs 0.0 GiB.*smaller scale"):
        Upscaler(weights[2]).upscale_array(np.zeros((500, 500, 3), np.uint8))


def test_upscale_reads_and_writes_files(
    weights: dict[int, Path], tmp_path: Path, photo: Photo
) -> None:
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    write_picture(Picture(photo(10, 13, 3)), source)
    result = vernier.upscale(source, target, model=weights[2])
    assert result.precision in ("fp32", "bf16")
    np.testing.assert_array_equal(read_picture(target).pixels, result.picture.pixels)
    assert picture_size(target) == (26, 20, 3)
    in_memory = vernier.upscale(read_picture(source), model=weights[2])
    np.testing.assert_array_equal(in_memory.picture.pixels, result.picture.pixels)
    with pytest.raises(InputError, match="would overwrite the input"):
        vernier.upscale(source, tmp_path / "." / "in.png", model=weights[2])
    (tmp_path / "link.png").hardlink_to(source)
    with pytest.raises(InputError, match="would overwrite the input"):
        vernier.upscale(source, tmp_path / "link.png", model=weights[2])


def test_bf16_costs_less_than_a_hundredth_of_a_decibel_where_auto_takes_it(shared: Path) -> None:
    shipped = [
        (name, scale)
        for name in list_models()
        if get_entry(name).facts.is_harmless("bf16")
        for scale in available_scales(name)
    ]
    assert {name for name, _ in shipped} >= {"sesr-m3", "sesr-m5", "sesr-m11", "sesr-xl", "grla-s"}
    for name, scale in shipped:
        loss = []
        for path in sorted((shared / "data" / "Set5" / "HR").iterdir()):
            hr = read_picture(path).pixels
            height, width = (side // scale * scale for side in hr.shape[:2])
            target = torch.from_numpy(hr[:height, :width].copy()).permute(2, 0, 1) / 255
            lr = imresize(target, 1 / scale).clamp(0, 1).mul(255).round().byte()
            pixels = lr.permute(1, 2, 0).contiguous().numpy()
            exact, fast = (
                psnr(torch.from_numpy(result).permute(2, 0, 1) / 255, target, crop=scale)
                for result in (
                    Upscaler(name, scale=scale, precision=precision).upscale_array(pixels)
                    for precision in ("fp32", "bf16")
                )
            )
            loss.append(float(exact - fast))
        assert np.mean(loss) <= 0.01, (name, scale, loss)


# Declared sizes that only cost time here.
_LARGEST = 600_000


def test_every_awkward_picture_is_upscaled_or_refused(
    shared: Path, weights: dict[int, Path], tmp_path: Path
) -> None:
    upscaler = Upscaler(weights[2])
    done, refused = 0, 0
    for path in sorted(p for p in (shared / "data" / "tricky").rglob("*") if p.is_file()):
        try:
            picture = read_picture(path, max_pixels=_LARGEST)
        except PictureError:
            refused += 1
            continue
        result = upscaler.upscale(picture).picture
        height, width, channels = picture.pixels.shape
        assert result.pixels.shape == (2 * height, 2 * width, channels), path
        assert result.pixels.dtype == picture.pixels.dtype, path
        suffix = ".tif" if picture.pixels.dtype == np.float32 else ".png"
        write_picture(result, tmp_path / f"out{suffix}", compression=0)
        again = read_picture(tmp_path / f"out{suffix}")
        np.testing.assert_array_equal(again.pixels, result.pixels, err_msg=str(path))
        assert again.icc_profile == picture.icc_profile, path
        done += 1
    assert done > 100
    assert refused > 5


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (7, 9), (3, 50), (64, 64), (20, 21)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_one_colour_stays_that_colour(dtype: type, size: tuple[int, int]) -> None:
    peak = 1 if dtype is np.float32 else np.iinfo(dtype).max
    for model, scale in (("sesr-m5", 2), ("sesr-m5", 4), ("sesr-m3", 3)):
        upscaler = Upscaler(model, scale=scale)
        for value in (0, peak // 3 if peak > 1 else 0.3, peak):
            pixels = np.full((*size, 3), value, dtype)
            larger = upscaler.upscale_array(pixels).astype(np.float64)
            # Half a level of eight bits, which the network itself may miss by.
            np.testing.assert_allclose(larger, value, atol=peak / 510)


def test_a_frame_of_one_colour_keeps_it_to_the_edge(photo: Photo) -> None:
    pixels = np.full((90, 80, 3), 255, np.uint8)
    pixels[18:-18, 18:-18] = photo(54, 44, 3)
    upscaler = Upscaler("sesr-m5", scale=4)
    larger = upscaler.upscale_array(pixels)
    assert (larger[:36] == 255).all()
    assert (larger[:, -36:] == 255).all()
    pixels[0, 40] = 254  # no frame of one colour any more: nothing but the network
    other = upscaler.upscale_array(pixels)
    assert not (other[:36] == 255).all()
    np.testing.assert_array_equal(other[60:-36, 36:-36], larger[60:-36, 36:-36])


def test_a_tiny_picture_is_what_its_mirrored_neighbourhood_makes_of_it(
    photo: Photo, weights: dict[int, Path]
) -> None:
    pixels = photo(5, 6, 3)
    upscaler = Upscaler(weights[2], precision="fp32")
    wide = upscaler.upscale_array(np.pad(pixels, ((40, 40), (40, 40), (0, 0)), mode="symmetric"))
    np.testing.assert_array_equal(upscaler.upscale_array(pixels), wide[80:-80, 80:-80])


@pytest.mark.parametrize("shape", [(30, 45, 3), (30, 45, 4), (45, 30, 1)])
@pytest.mark.parametrize(
    "size", [Size(width=90), Size(width=101), Size(longest=400), Size(shortest=7), Size(height=30)]
)
def test_a_size_is_reached_to_the_pixel(
    size: Size, shape: tuple[int, ...], named: str, photo: Photo
) -> None:
    for dtype in (np.uint8, np.float32):
        picture = Picture(photo(*shape, dtype))
        upscaler = Upscaler(named, size=size)
        result = upscaler.upscale(picture).picture
        expected = size.pixels(picture.width, picture.height)
        assert (result.width, result.height) == expected
        assert upscaler.size_of(picture.width, picture.height) == expected


def test_a_size_of_a_networks_own_scale_is_that_networks_result(
    weights: dict[int, Path], photo: Photo
) -> None:
    pixels = photo(21, 34, 3)
    by_size = Upscaler(weights[2], size=Size(width=68)).upscale(Picture(pixels))
    assert by_size.notes == ()
    np.testing.assert_array_equal(
        by_size.picture.pixels, Upscaler(weights[2]).upscale_array(pixels)
    )


def test_a_size_that_is_reached_or_smaller_is_told(weights: dict[int, Path], photo: Photo) -> None:
    pixels = photo(40, 60, 3)
    same = Upscaler(weights[2], size=Size(at_least=(30, 30))).upscale(Picture(pixels))
    np.testing.assert_array_equal(same.picture.pixels, pixels)
    assert same.notes == ("a picture has the size already: its pixels are kept",)
    smaller = Upscaler(weights[2], size=Size(width=30)).upscale(Picture(pixels))
    expected = imresize(torch.from_numpy(pixels / 255).permute(2, 0, 1), 0.5)
    expected = expected.clamp(0, 1).mul(255).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(smaller.picture.pixels, expected, atol=0.51)
    assert "made smaller by bicubic" in smaller.notes[0]


def test_the_print_sets_the_density(weights: dict[int, Path], photo: Photo) -> None:
    picture = Picture(photo(20, 30, 3), density=(2.0, 3.0))
    size = Size(paper=Paper.parse("30x20mm@127dpi"))
    result = Upscaler(weights[2], size=size).upscale(picture).picture
    assert (result.width, result.height, result.density) == (150, 100, (5.0, 5.0))


def test_an_upscaler_shows_what_it_is(weights: dict[int, Path]) -> None:
    assert repr(Upscaler(weights[2])) == "Upscaler('sesr-m3', scale=2, engine='openvino')"
    assert "size=Size(width=9," in repr(Upscaler(weights[2], size=Size(width=9)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": "2"},
        {"scale": 1e200},
        {"scale": True},
        {"scale": 2, "size": Size(width=3)},
        {"threads": 0},
        {"threads": "2"},
    ],
)
def test_wrong_settings_are_one_line(wrong: Any, weights: dict[int, Path]) -> None:
    with pytest.raises(InputError) as refused:
        Upscaler(weights[2], **wrong)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_fewer_threads_make_the_same_picture(
    engine: Any, weights: dict[int, Path], photo: Photo
) -> None:
    pixels, before = photo(40, 60, 3), torch.get_num_threads()
    all_cores = Upscaler(weights[2], engine=engine, precision="fp32").upscale_array(pixels)
    one = Upscaler(weights[2], engine=engine, precision="fp32", threads=1).upscale_array(pixels)
    np.testing.assert_allclose(one.astype(int), all_cores, atol=1)
    assert torch.get_num_threads() == before


def test_threads_are_what_the_engines_take(
    weights: dict[int, Path], photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert new_core(1).get_property("CPU", "INFERENCE_NUM_THREADS") == 1
    told: list[int] = []
    original = torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda n: (told.append(n), original(n)))
    before = torch.get_num_threads()
    Upscaler(weights[2], engine="torch", threads=1).upscale_array(photo(20, 20, 3))
    assert told == [1, before]


def test_a_conversion_is_told(photo: Photo) -> None:
    told: list[str] = []
    Upscaler("grla-s", engine="openvino", progress=lambda _, __, what: told.append(what))
    assert told == ["converting grla-s, once"]


def test_a_picture_may_be_given_in_many_ways(
    weights: dict[int, Path], tmp_path: Path, photo: Photo
) -> None:
    pixels = photo(12, 15, 3)
    path = tmp_path / "a.png"
    write_picture(Picture(pixels), path)
    content = path.read_bytes()
    expected = vernier.upscale(path, model=weights[2]).picture.pixels
    with path.open("rb") as file:
        for source in (content, bytearray(content), BytesIO(content), file, str(path), pixels):
            result = vernier.upscale(source, model=weights[2]).picture.pixels
            np.testing.assert_array_equal(result, expected)
    for image in (Image.open(path), Image.fromarray(pixels)):
        result = vernier.upscale(image, model=weights[2]).picture.pixels
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F", "YCbCr"])
def test_pictures_of_pillow_in_every_mode(mode: str, photo: Photo) -> None:
    image = Image.fromarray(photo(12, 15, 3))
    if mode == "I;16":
        image = Image.fromarray(photo(12, 15, 1, np.uint16)[..., 0])
    elif mode != "RGB":
        image = image.convert(mode)
    picture = picture_of(image)
    assert (picture.width, picture.height) == (15, 12)
    if mode in ("L", "LA", "RGBA", "I;16"):
        np.testing.assert_array_equal(picture.pixels.squeeze(), np.asarray(image))


def test_a_picture_of_pillow_keeps_its_profile_and_is_turned(photo: Photo) -> None:
    image = Image.fromarray(photo(12, 15, 3))
    exif = image.getexif()
    exif[0x0112] = 6
    held = BytesIO()
    image.save(held, "PNG", exif=exif, icc_profile=SRGB)
    picture = picture_of(Image.open(BytesIO(held.getvalue())))
    assert (picture.width, picture.height) == (12, 15)
    assert picture.icc_profile == SRGB


@pytest.mark.parametrize("wrong", [3, None, [1], {"a": 1}, np.zeros((3, 3), complex), "text" * 99])
def test_what_is_no_picture_is_one_line(wrong: Any, weights: dict[int, Path]) -> None:
    with pytest.raises(InputError) as refused:
        vernier.upscale(wrong, model=weights[2])
    assert "\n" not in str(refused.value)
