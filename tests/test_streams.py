"""Streams: what is decoded when, and that a streamed set gives exactly what a resident one gives."""

import numpy as np
import pytest
import torch
from PIL import Image

from lnl_kit.data import batches, streams
from lnl_kit.data import decode as decoding
from lnl_kit.data.batches import NoisyData
from lnl_kit.data.streams import Stream

SIZE = 12


def save(path, seed, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    x = np.random.RandomState(seed).randint(0, 256, (4, 4, 3)).astype(np.uint8)
    Image.fromarray(x).resize(size, Image.Resampling.BICUBIC).save(path)


def decoded(path, size):
    """The image by other means: shorter side to `size`, centre cut out."""
    image = Image.open(path).convert("RGB")
    cut = min(image.size)
    left, top = (image.width - cut) / 2, (image.height - cut) / 2
    image = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + cut, top + cut))
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())


@pytest.fixture
def stream(tmp_path):
    for i in range(50):
        save(tmp_path / f"{i}.png", i, (16 + i % 5, 20))
    return Stream(tmp_path, [f"{i}.png" for i in range(50)], SIZE)


@pytest.fixture
def asked(monkeypatch):
    """The names of the files that were decoded."""
    seen, decode = [], decoding.decode_files

    def counting(paths, *rest):
        seen.extend(path.name for path in paths)
        return decode(paths, *rest)

    monkeypatch.setattr(decoding, "decode_files", counting)
    return seen


def noisy(x, **options):
    y = torch.arange(50) % 7
    return NoisyData(x, y, tuple("abcdefg"), mean=(0.5,) * 3, std=(0.2,) * 3, batch_size=6, seed=1, **options)


def test_it_stands_where_a_tensor_would(stream, asked, tmp_path):
    assert stream.shape == (50, 3, SIZE, SIZE) and len(stream) == 50 and stream.dtype == torch.uint8
    assert stream.numel() == 50 * 3 * SIZE * SIZE and asked == []
    whole = torch.stack([decoded(tmp_path / f"{i}.png", SIZE) for i in range(50)])
    index = torch.tensor([7, 3, 3, 49])
    assert torch.equal(stream[index], whole[index]) and sorted(asked) == ["3.png", "3.png", "49.png", "7.png"]
    assert torch.equal(stream[45:], whole[45:]) and torch.equal(stream[-2], whole[-2])
    assert torch.equal(stream[torch.arange(50) == 4], whole[4:5]) and stream[:0].shape == (0, 3, SIZE, SIZE)
    few = stream.pick(index)
    assert len(asked) == 4 + 5 + 1 + 1 and few.shape == (4, 3, SIZE, SIZE)
    assert torch.equal(few[:], whole[index])


def test_the_next_chunk_is_asked_for_while_this_one_is_used(stream, monkeypatch):
    events, ask = [], Stream.ask
    monkeypatch.setattr(
        Stream, "ask", lambda self, part: (events.append(f"ask {part[0]}"), ask(self, part))[1]
    )
    for part in streams.in_chunks(stream, torch.arange(9).split(3)):
        events.append(f"use {len(part)}")
    assert events == ["ask 0", "ask 3", "use 3", "ask 6", "use 3", "use 3"]


def test_a_file_that_cannot_be_read_is_named(stream, tmp_path):
    (tmp_path / "8.png").write_bytes(b"not an image")
    assert stream[:8].shape[0] == 8
    with pytest.raises(ValueError, match=r"8.png cannot be read .*--skip-bad"):
        stream[torch.tensor([1, 8])]


def test_what_fits_is_decoded_into_memory(stream, monkeypatch):
    monkeypatch.delenv("LNL_STREAM", raising=False)
    monkeypatch.setattr(streams, "AHEAD", 8)
    x = streams.resident(stream)
    assert isinstance(x, torch.Tensor) and torch.equal(x, stream[:]) and streams.resident(x) is x
    monkeypatch.setattr(streams, "free_memory", lambda: 2 * stream.numel() - 1)
    assert streams.resident(stream) is stream
    monkeypatch.setattr(streams, "free_memory", lambda: 2 * stream.numel())
    assert isinstance(streams.resident(stream), torch.Tensor)
    monkeypatch.setenv("LNL_STREAM", "1")
    assert streams.resident(stream) is stream
    monkeypatch.undo()
    assert 2**20 < streams.free_memory() < 2**50


def test_large_images_come_fewer_at_a_time():
    assert batches.at_once(torch.empty(9, 3, 32, 32, device="meta")) == batches.CHUNK == 2048
    large = torch.empty(9, 3, 224, 224, device="meta")
    assert batches.CHUNK_BYTES * 0.99 < batches.at_once(large) * large[0].numel() <= batches.CHUNK_BYTES
    assert batches.at_once(torch.empty(9, 3, 9000, 9000, device="meta")) == 1


def test_streamed_batches_are_the_resident_ones_bit_for_bit(stream, monkeypatch):
    monkeypatch.setattr(batches, "CHUNK", 18)  # three batches a chunk, several chunks an epoch
    streamed, resident = noisy(stream), noisy(stream[:])
    assert streamed.x is stream
    order = torch.randint(50, (40,))
    for options in ({"views": ("crop", "imagenet")}, {"views": "augmix", "order": order}):
        pairs = list(zip(streamed.batches(3, **options), resident.batches(3, **options), strict=True))
        assert len(pairs) == (8 if "order" not in options else 6)
        for (x, y, idx), (x2, y2, idx2) in pairs:
            one, other = (v if isinstance(v, tuple) else (v,) for v in (x, x2))
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
            assert torch.equal(y, y2) and torch.equal(idx, idx2)
    pairs = zip(streamed.in_order("crop", epoch=2), resident.in_order("crop", epoch=2), strict=True)
    for (x, idx), (x2, idx2) in pairs:
        assert torch.equal(x, x2) and torch.equal(idx, idx2)


@pytest.mark.cuda
def test_a_stream_feeds_a_gpu(stream):
    for (x, _y, idx), (x2, _y2, idx2) in zip(
        noisy(stream, device="cuda").batches(0), noisy(stream[:]).batches(0)
    ):
        assert x[0].is_cuda and torch.equal(idx.cpu(), idx2) and torch.allclose(x[0].cpu(), x2[0], atol=1e-5)
