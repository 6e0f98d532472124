"""The spelling of keys, which scanners and the documentation rely on."""

import re
import string
import zlib

import pytest

from app_kernel.api_keys import API_KEY_PATTERN, looks_like_api_key
from app_kernel.api_keys.key_text import make_key, prefix_of

DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase


def checksum_as_documented(body: str) -> str:
    """Written anew from the sentence in the documentation."""
    number = zlib.crc32(body.encode())
    return "".join(DIGITS[number // 62**power % 62] for power in range(5, -1, -1))


def test_a_new_key_fits_the_pattern_and_its_checksum_is_what_the_documentation_says():
    keys = [make_key() for _ in range(500)]
    assert len(set(keys)) == len({prefix_of(key) for key in keys}) == 500
    for key in keys:
        assert len(key) == 58
        assert re.fullmatch(API_KEY_PATTERN, key)
        assert key[-6:] == checksum_as_documented(key[:-6])
        assert looks_like_api_key(key)


def test_a_key_is_found_in_text_by_the_published_pattern():
    key = make_key()
    text = f"export API_KEY='{key}' # and sk_live_short\nhttps://example.com/?token={key}&x=1"
    assert re.findall(API_KEY_PATTERN, text) == [key, key]


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:-1],
        lambda key: key + "a",
        lambda key: key + "\n",
        lambda key: " " + key,
        lambda key: key.replace("live", "test"),
        lambda key: key[:30] + ("a" if key[30] != "a" else "b") + key[31:],
        lambda key: key[:-1] + ("a" if key[-1] != "a" else "b"),
        lambda key: key[:20] + "é" + key[21:],
        lambda key: key[:20] + "٣" + key[21:],
        lambda key: "sk_live_",
        lambda key: "",
    ],
)
def test_what_only_looks_like_a_key_is_told_apart(change):
    assert not looks_like_api_key(change(make_key()))
