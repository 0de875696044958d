"""IPTC records among Photoshop's image resources."""

from __future__ import annotations

import pytest

from vernier.io.iptc import iptc_records, iptc_resource

RECORDS = b"\x1c\x02\x78\0\x05hello\x1c\x02\x05\0\x03sky"


def test_records_are_found_among_other_resources() -> None:
    # A name of odd length and one of even length, each padded with its length byte to even.
    odd = b"8BIM\x03\xed\x03abc\0\0\0\x04\1\2\3\4"
    even = b"8BIM\x03\xee\x02ab\0\0\0\0\x03xyz\0"
    mine = b"8BIM\x04\x04\0\0\0\0\0" + bytes([len(RECORDS)]) + RECORDS
    assert iptc_records(odd + even + mine) == RECORDS
    assert iptc_records(mine + odd) == RECORDS
    assert iptc_records(odd + even) is None


@pytest.mark.parametrize("records", [RECORDS, RECORDS[:10]])
def test_there_and_back(records: bytes) -> None:
    resource = iptc_resource(records)
    assert len(resource) % 2 == 0
    assert iptc_records(resource) == records


@pytest.mark.parametrize("damaged", [b"", b"hello", b"8BIM", b"8BIM\x03\xed\0\0\0", b"8BIM" * 9])
def test_damage(damaged: bytes) -> None:
    assert iptc_records(damaged) is None
