"""What counts as the same request: forms whose boundary alone differs, and nothing else."""

import pytest

from app_kernel.idempotency.requests import MAX_PARTS, describe

FORM = b"multipart/form-data; boundary="


def described(body: bytes, content_type: bytes) -> bytes:
    """The hash of a POST with this body."""
    headers = [(b"content-type", content_type)] if content_type else []
    return describe({"method": "POST", "path": "/", "query_string": b"", "headers": headers}, body)


def form(boundary: bytes, *values: bytes) -> bytes:
    """A form with these values."""
    lines = b"".join(
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + value + b"\r\n" for value in values
    )
    return lines + b"--" + boundary + b"--\r\n"


@pytest.mark.parametrize("boundary", [b"1", b"x-y_z", b"----WebKitFormBoundary7MA4YWxkTrZu0gW", b"a" * 70, b"="])
def test_a_boundary_is_no_part_of_the_request(boundary: bytes) -> None:
    first = described(form(b"other", b"one", b"two"), FORM + b"other")
    assert described(form(boundary, b"one", b"two"), FORM + boundary) == first
    assert described(b"preamble\r\n" + form(boundary, b"one", b"two"), FORM + boundary) != first


def test_a_quoted_boundary_among_other_parameters_is_one_too() -> None:
    types = [b'Multipart/Related; type="text/xml"; Boundary="%s"; start=s' % boundary for boundary in (b"a b", b"c")]
    assert described(form(b"a b", b"one"), types[0]) == described(form(b"c", b"one"), types[1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"100", b"10011"),
        (b"a--1", b"a"),
        (b"--1", b"--"),
        (b"a\r\n--11", b"a\r\n--1"),
        (b"a\r\n--1x", b"a\r\nx"),
        (b"a\r\n", b"a"),
    ],
)
def test_values_that_hold_the_boundary_are_different_values(one: bytes, other: bytes) -> None:
    assert described(form(b"1", one), FORM + b"1") != described(form(b"1", other), FORM + b"1")


def test_a_value_that_looks_like_the_line_of_another_boundary_is_a_value() -> None:
    assert described(form(b"1", b"a\r\n--1x"), FORM + b"1") != described(form(b"2", b"a\r\n--2x"), FORM + b"2")
    assert described(form(b"1", b"a", b"b"), FORM + b"1") != described(form(b"1", b"ab"), FORM + b"1")


@pytest.mark.parametrize(
    "content_type",
    [
        b"text/plain; boundary=1",
        b"multipart/form-data; boundary=2; boundary=1",
        b"multipart/form-data; boundary*=utf-8''1",
        b"multipart/form-data; boundary*=utf-8''%E2%82%AC",
        b"multipart/form-data; boundary*0*=bogus''a; boundary*1=b",
        b"multipart/form-data; boundary=" + b"1" * 71,
        b"multipart/form-data; boundary=\xff",
        b'multipart/form-data; boundary="1',
        b'multipart/form-data; boundary=""',
        b'multipart/form-data; boundary="1 "',
        b"multipart/form-data",
        b"",
    ],
)
def test_what_is_no_plain_form_is_taken_as_it_is(content_type: bytes) -> None:
    other = content_type.replace(b"1", b"2")
    first = described(form(b"1", b"one"), content_type)
    assert first == described(form(b"1", b"one"), content_type)
    assert first != described(form(b"2", b"one"), other)


def test_a_form_of_too_many_parts_is_taken_as_it_is() -> None:
    for parts, same in ((MAX_PARTS - 2, True), (MAX_PARTS + 1, False)):
        one, other = (described(form(b, *[b"x"] * parts), FORM + b) for b in (b"1", b"2"))
        assert (one == other) is same
