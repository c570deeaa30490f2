"""Opening images that others made: promised formats only, ordinary files inside their folder, bounded memory;
and label files, weights and archives that try more than to be read.
"""

import os
import pickle
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import lnl_kit
from lnl_kit import data
from lnl_kit.cli import main
from lnl_kit.data import images, large_sets, streams
from lnl_kit.data.images import open_image
from lnl_kit.features import backbones
from lnl_kit.features.of_dataset import images_of
from lnl_kit.label_errors.findings import open_findings
from lnl_kit.label_errors.pictures import picture
from lnl_kit.toolbox import models, resnets

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n(%pipe%touch started) (w) file\n"


@pytest.fixture
def photos(tmp_path):
    rng = np.random.RandomState(0)
    for k in ("cat", "dog"):
        (tmp_path / "photos" / k).mkdir(parents=True)
        for n in range(5):
            pixels = rng.randint(0, 255, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / k / f"{n}.png")
    return tmp_path / "photos"


def load(folder, **options):
    return data.load(f"folder:{folder}", root=folder.parent / "cache", split=False, **options)


def why(folder, path):
    with pytest.raises(ValueError) as error:
        load(folder)
    assert path in str(error.value) and "unreadable images: 1" in str(error.value)
    assert len(load(folder, skip_bad=True).x) == 10
    return str(error.value)


def test_a_jpg_that_is_eps_starts_no_other_program(photos, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("a program was started"))
    monkeypatch.setattr(subprocess, "check_call", lambda *a, **k: pytest.fail("a program was started"))
    (photos / "cat" / "x.jpg").write_bytes(EPS)
    assert "no image of a known format" in why(photos, "cat/x.jpg")


def test_only_the_promised_formats_are_opened(tmp_path):
    Image.init()
    for name in ("PSD", "XBM", "PCX", "TGA", "SGI", "ICO", "DDS", "PDF", "FLI"):
        assert name not in images.FORMATS
    for name in ("pcx", "tga", "sgi", "xbm", "ico", "dds"):
        mode = "1" if name == "xbm" else "RGB"
        Image.new(mode, (32, 32)).save(tmp_path / f"x.{name}")
        (tmp_path / f"x.{name}").rename(tmp_path / "x.jpg")
        with pytest.raises(ValueError, match="no image of a known format"), open_image(tmp_path / "x.jpg"):
            pass
    for name in ("jpg", "png", "webp", "bmp", "tiff", "gif", "ppm"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"y.{name}")
        with open_image(tmp_path / f"y.{name}") as image:
            assert image.size == (8, 8)


def test_links_out_of_the_folder_are_refused_unless_asked_for(photos, tmp_path, monkeypatch):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (16, 16), "red").save(secret)
    os.symlink(secret, photos / "cat" / "link.png")
    assert "lies outside of its folder" in why(photos, "cat/link.png")
    monkeypatch.setenv("LNL_FOLLOW_LINKS", "1")
    assert len(load(photos).x) == 11


def test_a_flag_follows_links_wherever_images_are_opened(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "cache"))
    elsewhere = tmp_path / "elsewhere.png"
    Image.new("RGB", (16, 16), "red").save(elsewhere)
    os.symlink(elsewhere, photos / "cat" / "link.png")
    found = load(photos, follow_links=True)
    assert len(found.x) == 11 and found.inside is None
    at = found.paths.index("cat/link.png")
    assert images_of(found, None, False, tmp_path / "memo").at(at, (8,))[0].shape == (3, 8, 8)
    assert "lies outside of its folder" in why(photos, "cat/link.png")  # what was decoded is not lent
    for more, status in (((), 1), (("--follow-links",), 0)):
        assert main(["check", str(photos), *more]) == status
    asked = {"follow_links": True, "progress": False, "report": False, "to": tmp_path / "found"}
    lnl_kit.find_errors(photos, probs=np.full((11, 2), 0.5), **asked)
    findings = open_findings(tmp_path / "found")
    assert not any(findings.changed().values()) and findings.pixels("cat/link.png") is not None
    monkeypatch.setattr(type(findings), "pixels", lambda *_: pytest.fail("the file itself can be shown"))
    assert picture(findings, {"path": "cat/link.png", "image": "cat/link.png"}).startswith("data:image/jpeg")
    tiny = {"epochs": 1, "batch_size": 4, "image_size": 8, "progress": False, "out": tmp_path / "runs"}
    run = lnl_kit.train("ce", photos, "none", follow_links=True, **tiny)
    assert "cat/link.png" in {*(opened := lnl_kit.open_run(run.folder).dataset()).paths, *opened.test_paths}
    with pytest.raises(ValueError, match="for folders of images"):
        data.load("digits", follow_links=True)


def test_a_link_inside_the_folder_is_followed(photos):
    os.symlink(photos / "cat" / "0.png", photos / "cat" / "again.png")
    assert len(load(photos).x) == 11


def test_a_linked_class_folder_is_refused(photos, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (16, 16), "red").save(tmp_path / "elsewhere" / "private.png")
    os.symlink(tmp_path / "elsewhere", photos / "eel")
    with pytest.raises(ValueError, match="lies outside of its folder"):
        load(photos)


def test_lists_of_images_do_not_leave_their_folder(tmp_path):
    (tmp_path / "set").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "private.jpg")
    stream = streams.Stream(tmp_path / "set", ["../private.jpg"], 8)
    with pytest.raises(ValueError, match="lies outside of its folder"):
        stream[0]


def test_a_pipe_does_not_hang(photos):
    os.mkfifo(photos / "cat" / "pipe.jpg")
    found = []
    thread = threading.Thread(target=lambda: found.append(why(photos, "cat/pipe.jpg")), daemon=True)
    thread.start()
    thread.join(60)
    assert found and "no ordinary file" in found[0]


def bomb(path, side):
    """A palette PNG with transparency: `side` x `side` pixels in a few kilobytes."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    pack = zlib.compressobj(9)
    rows = b"".join(pack.compress(b"\0" * (side + 1)) for _ in range(side)) + pack.flush()
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", bytes(6))
        + chunk(b"tRNS", b"\x80\xff")
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


def test_too_many_pixels_are_refused_before_they_are_decoded(photos, monkeypatch):
    bomb(photos / "cat" / "bomb.png", 13_370)
    assert (photos / "cat" / "bomb.png").stat().st_size < 500_000
    started = time.perf_counter()
    assert "13370 x 13370 pixels, more than 50 million" in why(photos, "cat/bomb.png")
    assert time.perf_counter() - started < 20
    monkeypatch.setenv("LNL_MAX_PIXELS", "many")
    with pytest.raises(ValueError, match="LNL_MAX_PIXELS 'many' is not allowed"):
        images.max_pixels()


def test_transparency_is_laid_on_white_in_bands_with_the_same_pixels():
    rng = np.random.RandomState(0)
    image = Image.fromarray(rng.randint(0, 255, (700, 30, 4)).astype(np.uint8))
    whole = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    palette = image.convert("RGB").convert("P")
    palette.info["transparency"] = 3
    for mode in ("RGB", "L"):
        assert np.array_equal(images.on_white(image, mode), whole.convert(mode))
        flat = palette.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", flat.size, "white"), flat).convert(mode)
        assert np.array_equal(images.on_white(palette, mode), flat)


def test_a_large_transparent_image_takes_a_few_bytes_a_pixel(tmp_path):
    """Pillow's own memory is outside tracemalloc, so the process's peak is read, in a process of its own."""
    bomb(tmp_path / "x.png", 6_000)  # 36 million pixels
    code = (
        "import resource, sys; from pathlib import Path; from lnl_kit.data.decode import decode_files\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "x, errors, *_ = decode_files([Path(sys.argv[1])], (3, 32, 32), False, False)\n"
        "assert not errors, errors\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.png")], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 36 * 8, (
        f"{done.stdout} MB for 36 million pixels"
    )  # 12 bytes a pixel and more before


# ---------------------------------------------------------------- label files


class Call:
    """Pickles as a call of a function with arguments, and a state for what it returns."""

    def __init__(self, function, arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


ATTACKS = {
    "an array of objects over its own bytes": lambda: Call(np.ndarray, ((1,), np.dtype("O"), b"\x41" * 8)),
    "an array of objects by its state": lambda: Call(
        np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), (1, (1,), np.dtype("O"), False, [print])
    ),
    "a shape larger than its bytes": lambda: Call(
        np._core.multiarray._reconstruct,
        (np.ndarray, (0,), b"b"),
        (1, (10**9,), np.dtype("i8"), False, b"\0" * 8),
    ),
    "a shape that overflows": lambda: Call(
        np._core.multiarray._reconstruct,
        (np.ndarray, (0,), b"b"),
        (1, (2**62, 4), np.dtype("i8"), False, b""),
    ),
    "a function": lambda: Call(os.system, ("true",)),
}


def test_a_label_file_only_holds_whole_numbers(tmp_path):
    """In a process of its own, which an attack that works would bring down."""
    y = np.arange(10)
    for attack, value in ATTACKS.items():
        (tmp_path / attack).mkdir()
        torch.save({"clean_label": y, "worse_label": value()}, tmp_path / attack / "CIFAR-10_human.pt")
    code = (
        "import sys, numpy as np; from lnl_kit import data\n"
        "for folder in sys.argv[1:]:\n"
        "    try: data.human_labels('cifar10', 'worst', folder, np.arange(10))\n"
        "    except ValueError as error: print(str(error).replace('\\n', ' '))"
    )
    folders = [str(tmp_path / attack) for attack in ATTACKS]
    done = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True)
    assert done.returncode == 0, done
    said = done.stdout.splitlines()
    assert len(said) == len(ATTACKS) and all("is not the label file of cifar10" in one for one in said), said


@pytest.mark.parametrize("kind", ["u1", "i2", "<i4", ">i4", "i8", ">i8", "list", "tensor", "fortran"])
def test_whole_numbers_of_every_width_are_read(tmp_path, kind):
    y = np.arange(20) % 10
    other = {"list": y.tolist(), "tensor": torch.from_numpy(y)}.get(kind)
    if kind == "fortran":
        other = np.asfortranarray(y)
    worse = y.astype(kind) if other is None else other
    for new in (True, False):
        torch.save(
            {"clean_label": y, "worse_label": worse},
            tmp_path / "CIFAR-10_human.pt",
            _use_new_zipfile_serialization=new,
        )
        assert np.array_equal(data.human_labels("cifar10", "worst", tmp_path, y).numpy(), y)


def test_imagenet_weights_put_in_place_by_hand_run_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(pickle.dumps(Call(os.mkdir, (str(tmp_path / "ran"),))))
    with pytest.raises(ValueError, match="is not the file that its name says"):
        models.make("resnet18_imagenet", 10)
    torch.save({"conv1.weight": Call(os.mkdir, (str(tmp_path / "ran"),))}, place)
    monkeypatch.setattr(resnets, "_has_its_hash", lambda path: True)  # even with the right name
    with pytest.raises(ValueError, match="holds more than weights and was not loaded"):
        models.make("resnet18_imagenet", 10)
    assert not (tmp_path / "ran").exists()


def test_weights_for_features_put_in_place_by_hand_run_nothing(tmp_path, monkeypatch):
    from torchvision.models import ResNet18_Weights, resnet18

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / ResNet18_Weights.DEFAULT.url.rpartition("/")[2]
    place.parent.mkdir(parents=True)
    torch.save(Call(os.mkdir, (str(tmp_path / "ran"),)), place, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="is not the file that its name says"):
        backbones.backbone("torchvision:resnet18")
    monkeypatch.setattr(resnets, "_has_its_hash", lambda path: True)  # even with the right name
    with pytest.raises(ValueError, match="holds more than weights and was not loaded"):
        backbones.backbone("torchvision:resnet18")
    assert not (tmp_path / "ran").exists()
    torch.save(resnet18().state_dict(), place)
    with torch.inference_mode():
        assert backbones.backbone("torchvision:resnet18").network()(torch.zeros(1, 3, 64, 64)).shape == (
            1,
            512,
        )


def test_an_archive_that_would_fill_the_disk_is_not_unpacked(tmp_path, monkeypatch):
    import zipfile

    monkeypatch.setattr(large_sets, "UNPACKED_BYTES", 1000)
    monkeypatch.setattr(large_sets, "MD5", {})
    with zipfile.ZipFile(tmp_path / "tiny-imagenet-200.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("tiny-imagenet-200/wnids.txt", b"0" * 100_000)
    with pytest.raises(FileNotFoundError, match=r"is not the whole archive .*holds more than"):
        data.load("tiny_imagenet", root=tmp_path)
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError, match=r"is not the whole archive .*its MD5 is"):
        data.load("tiny_imagenet", root=tmp_path)
    assert not (tmp_path / "tiny-imagenet-200").exists()
