"""Pictures that the load generator sends: real JPEGs of the asked sizes, some of them again, before the text."""

import base64
import io
import random
from collections import Counter

import pytest
from PIL import Image
from support.load_bodies import first_bodies

from workbench.core.errors import InvalidSpec
from workbench.load.pictures import Pictures
from workbench.load.spec import LoadSpec, image_buckets

SPEC = {"url": "http://localhost:1", "model": "m", "endpoint": "chat", "input_tokens": 8}


def opened(part):
    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_sizes_come_by_their_shares():
    pictures = Pictures("32x64:3,96x48:1", hit_fraction=0.0, rng=random.Random(1))
    counts = Counter(opened(pictures.part()).size for _ in range(200))
    assert set(counts) == {(64, 32), (48, 96)}
    assert 120 < counts[64, 32] < 180


def test_a_share_was_sent_before_and_the_others_are_all_different():
    pictures = Pictures("32x32", hit_fraction=0.5, rng=random.Random(2))
    urls = [pictures.part()["image_url"]["url"] for _ in range(200)]
    again = urls.count(urls[0])
    assert 70 < again < 130
    assert len(set(urls)) == 200 - again + 1


def test_pictures_stand_before_the_text_and_the_same_seed_sends_the_same():
    spec = LoadSpec(**SPEC, n_images=2, image_sizes="16x16", duration_s=1.0, nonce=7)
    made = first_bodies(spec)
    content = made[0]["messages"][0]["content"]
    assert [c["type"] for c in content] == ["image_url", "image_url", "text"]
    assert made == first_bodies(spec)


@pytest.mark.parametrize("sizes", ["3x", "0x1", "4x4:0", "a", "4x4,", "4x4:x"])
def test_what_is_no_size_is_refused(sizes):
    with pytest.raises(InvalidSpec, match="448x448:3"):
        image_buckets(sizes)


@pytest.mark.parametrize(
    "wrong", [{"n_images": -1}, {"image_hit_fraction": 1.5}, {"n_images": 1, "endpoint": "completions"}]
)
def test_loads_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InvalidSpec):
        LoadSpec(**(SPEC | wrong))
