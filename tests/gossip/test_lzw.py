"""Reading what Go's compress/lzw wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impl.gossip import Malformed
from impl.gossip.lzw import decompress

# Written by Go 1: lzw.NewWriter(w, lzw.LSB, 8).
GOLDEN = {
    b"": "000302",
    b"a": "00c30404",
    b"a" * 22: "00c3081c48b0a0c1300101",
    b"memberlist memberlist memberlist": "00db946923a68c1c3669e6d0012190a041840a190e2c7830219d80",
}


@pytest.mark.parametrize("original", GOLDEN)
def test_what_go_compressed_is_read(original: bytes) -> None:
    assert decompress(bytes.fromhex(GOLDEN[original]), 100) == original


def test_widths_grow_and_a_full_table_is_cleared_as_in_go() -> None:
    compressed = (Path(__file__).parent / "data" / "numbers.lzw").read_bytes()
    original = b"".join(b"%d " % number for number in range(3000))
    assert decompress(compressed, len(original)) == original


def test_expansion_is_bounded() -> None:
    with pytest.raises(Malformed, match="beyond 21 bytes"):
        decompress(bytes.fromhex(GOLDEN[b"a" * 22]), 21)


@given(st.binary(max_size=300))
def test_garbage_is_malformed_and_nothing_else(garbage: bytes) -> None:
    try:
        assert len(decompress(garbage, 1000)) <= 1000
    except Malformed:
        pass
