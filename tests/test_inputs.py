"""Folders of images as people have them: layouts, names, links, formats, depths; all of it said."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image, features

from lnl_kit import data
from lnl_kit.data import decode, file_state, folders, images, taken, tree
from lnl_kit.features.of_dataset import images_of
from lnl_kit.features.pictures import Files


def picture(path, seed=0, size=(8, 8), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = len(Image.new(mode, (1, 1)).getbands())
    x = np.random.RandomState(seed).randint(0, 256, (size[1], size[0], channels)).astype(np.uint8)
    Image.frombytes(mode, size, x.tobytes()).save(path, **options)
    return path


def pictures(folder, *names, n=3, ending="png"):
    """n pictures, all different, in each folder of that name."""
    for name in names:
        for i in range(n):
            picture(folder / name / f"{i}.{ending}", hash((name, i)) % 2**31)
    return folder


@pytest.fixture
def load(tmp_path):
    return lambda folder, **options: data.load(f"folder:{folder}", root=tmp_path / "root", **options)


def count(found):
    """{class: its training images and, where they were split off, test images}."""
    labels = [*found.given_labels.tolist(), *found.test_y.tolist()]
    return {name: labels.count(k) for k, name in enumerate(found.classes)}


# ---------------------------------------------------------------- layouts


def test_images_below_class_folders_are_of_the_class_and_counted(tmp_path, load):
    photos = pictures(tmp_path / "photos", "cat", "cat/2023", "dog", "dog/2023/may", "emu/a")
    found = load(photos)
    assert count(found) == {"cat": 6, "dog": 6, "emu": 3}
    assert (
        "3 classes: cat 6, dog 6, emu 3; 9 images in folders below class folders taken as theirs"
        in found.taken
    )
    flat = load(photos, recursive=False)
    assert count(flat) == {"cat": 3, "dog": 3}
    assert "9 images in folders below class folders left out (--no-recursive)" in flat.taken
    assert "emu" not in flat.taken.split(";")[0]


def test_other_files_loose_images_empty_and_hidden_folders_are_named(tmp_path, load):
    photos = pictures(tmp_path / "photos", "cat", "dog", ".cache", "__MACOSX/cat")
    picture(photos / "loose.png")
    (photos / "empty").mkdir()
    for i in range(2):
        (photos / "cat" / f"{i}.txt").touch()
        (photos / "svg").mkdir(exist_ok=True)
        (photos / "svg" / f"{i}.svg").touch()
    found = load(photos)
    assert found.classes == ("cat", "dog") and count(found) == {"cat": 3, "dog": 3}
    for part in (
        "1 image outside class folders left out, such as loose.png",
        "4 other files ignored (.txt 2, .svg 2; such as cat/0.txt)",
        "no image of 'svg' can be read, which is no class here (2 files of other formats, such as svg/0.svg)",
        "folder 'empty' is empty, which is no class here",
    ):
        assert part in found.taken, part
    assert "\n" not in found.taken


def test_class_folders_beside_train_are_counted(tmp_path, load):
    photos = pictures(tmp_path / "photos", "train/cat", "train/dog", "test/cat", "test/dog", "extra", "cat")
    found = load(photos)
    assert len(found.x) == 6 and len(found.test_x) == 6
    assert "6 images beside train/ left out (cat 3, extra 3): classes belong into train/" in found.taken


@pytest.mark.parametrize(
    "names", [("Train", "Test", "Val"), ("training", "testing", "valid"), ("train", "test", "validation")]
)
def test_parts_have_many_names(names, tmp_path, load):
    train, test, val = names
    photos = pictures(tmp_path / "photos", *(f"{part}/{c}" for part in names for c in ("cat", "dog")))
    found = load(photos)
    assert found.classes == ("cat", "dog") and len(found.x) == len(found.test_x) == 6
    assert all(path.startswith(f"{train}/") for path in found.paths)
    assert f"6 images of {val}/ not used in training" in found.taken
    whole = load(photos, split=("train", "val", "test"))
    assert len(whole.x) == 18 and sorted(set(whole.parts)) == ["test", "train", "val"]
    for path, part, x in zip(whole.paths, whole.parts, whole.x):
        assert path.split("/")[0] == {"train": train, "test": test, "val": val}[part]
        assert np.array_equal(x, np.asarray(Image.open(photos / path)).transpose(2, 0, 1))
    some = load(photos, split=("test",))
    assert set(some.parts) == {"test"} and len(some.x) == 6


def test_val_is_the_test_set_where_there_is_none(tmp_path, load):
    found = load(pictures(tmp_path / "photos", "train/cat", "train/dog", "val/cat", "val/dog"))
    assert len(found.x) == len(found.test_x) == 6
    assert "no test folder: the images of val/ are the test set" in found.taken
    beside = load(pictures(tmp_path / "beside", "cat", "dog", "val/cat", "val/dog"))
    assert beside.classes == ("cat", "dog") and len(beside.x) == len(beside.test_x) == 6


def test_classes_called_train_and_test(tmp_path, load):
    vehicles = pictures(tmp_path / "vehicles", "bus", "car", "train")
    assert count(load(vehicles)) == {"bus": 3, "car": 3, "train": 3}
    pictures(vehicles, "train/local", "train/express")
    assert count(load(vehicles)) == {"bus": 3, "car": 3, "train": 9}
    assert count(load(pictures(tmp_path / "kinds", "demo", "test"))) == {"demo": 3, "test": 3}
    split = load(
        pictures(tmp_path / "split", *(f"{p}/{c}" for p in ("train", "test") for c in ("bus", "train")))
    )
    assert split.classes == ("bus", "train") and len(split.x) == len(split.test_x) == 6


def test_layouts_that_cannot_be_told_are_refused_with_the_way_out(tmp_path, load):
    with pytest.raises(ValueError, match=r"directly in .*test/ .*put them in train/<class>.*--labels"):
        load(pictures(tmp_path / "flat", "train", "test"))
    with pytest.raises(ValueError, match=r"Train and train, which both read as the train part"):
        load(pictures(tmp_path / "two", "train/a", "train/b", "Train/a", "Train/b"))
    with pytest.raises(ValueError, match=r"is folder:.*/wrapped/photos meant\?"):
        load(pictures(tmp_path / "wrapped", "photos/cat", "photos/dog"))
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="it is a file, not a folder"):
        load(tmp_path / "file")


def test_links_are_followed_but_not_in_circles(tmp_path, load, monkeypatch):
    pictures(tmp_path / "real", "cat")
    photos = pictures(tmp_path / "photos", "dog")
    monkeypatch.setenv("LNL_FOLLOW_LINKS", "1")
    (photos / "cat").symlink_to("../real/cat")
    (photos / "loop").symlink_to(".")
    (photos / "dog" / "up").symlink_to("..")
    found = load(photos)
    assert count(found) == {"cat": 3, "dog": 3}
    assert "2 links in a circle left out, such as dog/up" in found.taken
    (photos / "dog" / "nothing.png").symlink_to("nowhere.png")
    (photos / "dog" / "circle.png").symlink_to("circle.png")
    with pytest.raises(ValueError, match="unreadable images: 2;"):
        load(photos)
    monkeypatch.delenv("LNL_FOLLOW_LINKS")
    with pytest.raises(
        ValueError, match=r"unreadable images: 5 .*cat/0.png, cat/1.png, cat/2.png \(it lies outs"
    ):
        load(photos)
    monkeypatch.setenv("LNL_FOLLOW_LINKS", "1")
    assert "dog 3;" in load(photos, skip_bad=True).taken


def test_a_folder_that_cannot_be_read_is_named(tmp_path, load, monkeypatch):
    photos = pictures(tmp_path / "photos", "cat", "dog", "emu")
    scandir = os.scandir

    def refusing(path):  # root may read everything
        if str(path).endswith("emu"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(ValueError, match=r"folders that cannot be read: 1; .*emu \(Permission denied\)"):
        load(photos)
    assert "left out by --skip-bad: folders that cannot be read 1" in load(photos, skip_bad=True).taken


def test_the_split_never_takes_the_last_image_of_a_class(tmp_path, load):
    labels = np.repeat(np.arange(31), [2] * 30 + [7])
    train, test = folders.stratified_split(labels, 13, seed=0)
    assert len(np.unique(labels[train])) == 31 and len(test) == 13
    labels = np.repeat(np.arange(11), [1] * 10 + [10])
    train, test = folders.stratified_split(labels, 4, seed=0)
    assert len(np.unique(labels[train])) == 11 and np.unique(labels[test]).tolist() == [10] and len(test) == 4
    single = pictures(pictures(tmp_path / "single", *"abcd", n=1), "zebra", n=6)
    found = load(single)
    assert np.bincount(found.given_labels).tolist() == [1, 1, 1, 1, 4] and len(found.test_y) == 2
    ones = pictures(tmp_path / "ones", *"abcd", n=1)
    with pytest.raises(ValueError, match="no test set can be split off from 4 images, one a class"):
        load(ones)
    assert len(load(ones, split=False).x) == len(load(ones, split=("train", "test")).x) == 4


# ---------------------------------------------------------------- names


def test_a_data_set_may_be_a_path_in_any_form(tmp_path, monkeypatch, capsys):
    photos = pictures(tmp_path / "photos", "cat", "dog")
    odd = pictures(tmp_path / "shots 12:30", "cat", "dog")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "root"))
    same = {
        data.load(name).fingerprint
        for name in ("photos", photos, f"folder:{photos}", "./photos", str(photos))
    }
    assert len(same) == 1
    assert data.resolve("shots 12:30") == "folder:shots 12:30" and data.load(odd).classes == ("cat", "dog")
    assert data.resolve(odd) == f"folder:{odd}"
    assert data.resolve("digits") == "digits"
    pictures(tmp_path / "digits", "cat", "dog")
    capsys.readouterr()
    assert data.resolve("digits") == "digits"
    assert "folder:digits (or ./digits) means the folder" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"digits is a built-in data set, and a folder here.*folder:digits"):
        data.resolve("digits", folder_first=True)
    assert data.load("./digits").classes == ("cat", "dog")
    with pytest.raises(ValueError, match="unknown data set 'nothing': choose one of"):
        data.resolve("nothing")
    for wrong in (None, 3, ["photos"]):
        with pytest.raises(ValueError, match=r"of type \w+ is not allowed: give a name"):
            data.resolve(wrong)
    with pytest.raises(ValueError, match="image size '32' is not allowed: a whole number"):
        data.load("digits", image_size="32")


def test_one_line_once(tmp_path, load, capsys):
    photos = pictures(tmp_path / "photos", "cat", "dog")
    with taken.once():
        load(photos)
        load(photos)
    assert capsys.readouterr().err.count("\n") == 1
    load(photos)
    assert capsys.readouterr().err.count("\n") == 1


def test_many_classes_are_a_range_on_the_line(tmp_path, load):
    photos = pictures(tmp_path / "photos", *(f"c{i:02}" for i in range(20)), n=2)
    picture(photos / "c00" / "more.png", 5)
    assert load(photos).taken.startswith("20 classes of 2 to 3 images, 41 in all;")


# ---------------------------------------------------------------- formats and depth


def test_every_promised_format_is_read(tmp_path, load):
    endings = ["tif", "tiff", "gif", "ppm", "jfif", "bmp", "JPEG", "webp", *["avif"] * features.check("avif")]
    photos = tmp_path / "photos"
    for i, ending in enumerate(endings):
        for k in range(2):
            format = {"jfif": "JPEG"}.get(ending)
            picture(
                photos / f"is {ending}" / f"{k}.{ending}",
                10 * i + k,
                **({"format": format} if format else {}),
            )
    found = load(photos)
    assert found.classes == tuple(sorted(f"is {ending}" for ending in endings)) and not found.skipped
    for path, x in zip(found.paths, found.x):
        if path.endswith(("tif", "tiff", "ppm", "bmp")):
            assert np.array_equal(
                x, np.asarray(Image.open(photos / path).convert("RGB")).transpose(2, 0, 1)
            ), path


def test_the_first_picture_of_an_animation_is_taken(tmp_path, load):
    photos = pictures(tmp_path / "photos", "a", "b")
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    first.save(photos / "a" / "0moving.gif", save_all=True, append_images=[second])
    found = load(photos, split=False)
    red, green, blue = found.x[found.paths.index("a/0moving.gif")].flatten(1).float().mean(1)
    assert red > 250 and green == blue == 0


def test_heic_without_its_package_says_what_to_install(tmp_path, load, monkeypatch):
    photos = pictures(tmp_path / "photos", "cat", "dog")
    (photos / "cat" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    monkeypatch.setattr(images, "_heif", lambda: False)
    with pytest.raises(ValueError, match=r"cat/IMG_1.HEIC \(HEIC is read with the package pillow-heif: pip"):
        load(photos)


def test_sixteen_bits_are_scaled_by_what_the_set_uses(tmp_path, load):
    random = np.random.RandomState(0)
    for k, c in enumerate(("ill", "well")):
        for i in range(6):
            (tmp_path / "photos" / c).mkdir(parents=True, exist_ok=True)
            x = random.randint(0, 255, (16, 16)) + 200 * k  # of 65,536 values only 0 to 454
            x[0, :2] = 0, 454
            Image.fromarray(x.astype(np.uint16)).save(tmp_path / f"photos/{c}/{i}.png")
    found = load(tmp_path / "photos", split=False)
    assert found.x.shape[1] == 1 and len(np.unique(found.x)) > 200
    assert "images of more than 8 bits use the values 0 to 454, shown as 0 to 255" in found.taken
    raw = np.asarray(Image.open(tmp_path / "photos" / found.paths[0])).astype(int)
    assert np.abs(found.x[0, 0].numpy() - raw * 255 / 454).max() <= 0.5 + 1e-6
    Image.fromarray(np.full((16, 16), 0.5, np.float32)).save(tmp_path / "photos/ill/float.tiff")
    assert not load(tmp_path / "photos", split=False).skipped


def test_very_large_images_are_one_sentence_and_no_warning(tmp_path, load, recwarn):
    photos = pictures(tmp_path / "photos", "cat", "dog")
    Image.new("1", (400, 300)).save(photos / "cat" / "big.png")
    with pytest.raises(
        ValueError, match=r"big.png \(it has 400 x 300 pixels, more than 0.1 million: .*--max-pixels 120000 "
    ):
        load(photos, max_pixels=100_000)
    assert len(load(photos, split=False, max_pixels=120_000).x) == 7
    Image.new("1", (10_000, 9_000)).save(photos / "cat" / "big.png")  # above the limit at which Pillow warns
    with pytest.raises(ValueError, match=r"more than 50 million: .*--max-pixels 90000000 or LNL_MAX_PIXELS"):
        load(photos)
    assert len(load(photos, split=False, max_pixels=90_000_000).x) == 7
    assert not [w for w in recwarn if "Decompression" in str(w.category)]
    before = Image.MAX_IMAGE_PIXELS
    assert before  # others' limit is as it was


def test_what_max_pixels_allows_is_allowed_wherever_the_file_is_opened(tmp_path, load, monkeypatch):
    photos = pictures(tmp_path / "photos", "cat", "dog")
    picture(photos / "cat" / "big.png", 9, (40, 30))
    monkeypatch.setenv("LNL_MAX_PIXELS", "1000")
    with pytest.raises(ValueError, match=r"more than 0\.001 million"):
        load(photos)
    found = load(photos, split=False, max_pixels=1200)
    path = found.folder / "cat/big.png"
    assert decode.whole_digest(path, photos, found.max_pixels) and not decode.whole_digest(path, photos)
    assert decode.headers([path], photos, found.max_pixels).tolist() == [(40, 30, b"RGB")]
    seen = images_of(found, None, False, tmp_path / "memo")
    assert seen.at(found.paths.index("cat/big.png"), (8,))[0].shape == (3, 8, 8)
    with pytest.raises(
        ValueError, match="max_pixels, follow_links and digits: that is for folders of images"
    ):
        data.load("digits", max_pixels=10**6)


def test_a_class_of_which_nothing_can_be_read_is_named(tmp_path, load):
    photos = pictures(tmp_path / "photos", "cat", "dog", "emu")
    for path in (photos / "emu").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"unreadable images: 3 \(no image of class 'emu' can be read\)"):
        load(photos)
    assert "no image of class 'emu' can be read" in load(photos, skip_bad=True).taken


# ---------------------------------------------------------------- the cache


def test_files_of_equal_size_and_time_that_were_swapped_are_seen(tmp_path, load):
    photos = tmp_path / "photos"
    for i, c in enumerate("aabb"):
        picture(photos / c / f"{i}.bmp", i)
    for path in photos.rglob("*.bmp"):
        os.utime(path, ns=(10**18, 10**18))
    before = by_path(load(photos, split=False))
    names = ["a/0.bmp", "b/2.bmp"]
    keys = Files(photos, names, tmp_path / "memo").keys
    first, second = photos / "a/0.bmp", photos / "b/2.bmp"
    first.rename(photos / "x")
    second.rename(first)
    (photos / "x").rename(second)
    after = by_path(load(photos, split=False))
    assert after["a/0.bmp"] == before["b/2.bmp"] != after["b/2.bmp"] == before["a/0.bmp"]
    assert np.array_equal(Files(photos, names, tmp_path / "memo").keys, keys[::-1])  # of features too


def test_a_fault_that_passes_is_not_kept(tmp_path, load, monkeypatch):
    photos = pictures(tmp_path / "photos", "cat", "dog")
    opened = images._open

    def failing(path, inside):
        if path.name == "1.png":
            raise OSError(5, "Input/output error")
        return opened(path, inside)

    monkeypatch.setattr(images, "_open", failing)
    assert load(photos, skip_bad=True).skipped_kinds == {"unreadable images": 2}
    assert load(photos, skip_bad=True).skipped_kinds == {"unreadable images": 2}
    monkeypatch.setattr(images, "_open", opened)
    assert load(photos).skipped == ()
    monkeypatch.setattr(decode, "_decode_all", None)  # and that is kept
    assert load(photos).skipped == ()


def by_path(found):
    return {path: x.tolist() for path, x in zip(found.paths, found.x)}


def test_on_network_drives_a_sample_of_the_bytes_tells(tmp_path, load, monkeypatch):
    photos = tmp_path / "photos"
    for i, c in enumerate("aabb"):
        picture(photos / c / f"{i}.bmp", i)
    monkeypatch.setattr(tree, "status", lambda path, entry=None: (246, 1, 1, 1))  # says nothing
    stale = by_path(load(photos, split=False))
    shutil.copyfile(photos / "b/3.bmp", photos / "a/0.bmp")
    assert by_path(load(photos, split=False)) == stale
    monkeypatch.setattr(decode, "on_network_drive", lambda folder: True)
    assert by_path(load(photos, split=False))["a/0.bmp"] == stale["b/3.bmp"]
    shutil.copyfile(photos / "b/2.bmp", photos / "a/0.bmp")
    assert by_path(load(photos, split=False))["a/0.bmp"] == stale["b/2.bmp"]
    assert file_state.on_network_drive(tmp_path) in (True, False)
