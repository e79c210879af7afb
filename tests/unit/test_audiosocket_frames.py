"""AudioSocket's framing: whole, cut anywhere, hostile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter.telephony.frames import (
    KIND_AUDIO,
    KIND_DTMF,
    KIND_ERROR,
    KIND_HANGUP,
    KIND_UUID,
    MAX_JUNK,
    MAX_PAYLOAD,
    Frame,
    FrameParser,
)

pytestmark = pytest.mark.unit


def frame(kind: int, payload: bytes = b"") -> bytes:
    return bytes((kind,)) + len(payload).to_bytes(2, "big") + payload


def joined(frames: list[Frame]) -> list[Frame]:
    """Adjacent audio made one, as the parser may cut it anywhere between calls."""
    result: list[Frame] = []
    for one in frames:
        if result and one.kind == result[-1].kind == KIND_AUDIO:
            result[-1] = Frame(KIND_AUDIO, result[-1].payload + one.payload)
        else:
            result.append(one)
    return result


KNOWN = st.one_of(
    st.tuples(st.just(KIND_AUDIO), st.binary(min_size=1, max_size=160).map(lambda half: half * 2)),
    st.tuples(st.just(KIND_AUDIO), st.binary(min_size=320, max_size=320)),
    st.tuples(st.sampled_from([KIND_UUID, KIND_DTMF, KIND_HANGUP, KIND_ERROR]), st.binary(max_size=20)),
)


@given(st.lists(KNOWN, max_size=30), st.data())
def test_frames_come_out_whole_however_the_bytes_are_cut(frames, data):
    stream = b"".join(frame(kind, payload) for kind, payload in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    parser = FrameParser()
    got: list[Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += parser.feed(stream[start:end])
    assert joined(got) == joined([Frame(kind, payload) for kind, payload in frames])
    assert parser.broken is None
    assert parser.junk == 0


@given(st.lists(st.binary(max_size=2000), max_size=20))
def test_any_bytes_are_survived_and_audio_stays_whole_samples(chunks):
    parser = FrameParser()
    for chunk in chunks:
        for one in parser.feed(chunk):
            assert one.kind in (KIND_AUDIO, KIND_UUID, KIND_DTMF, KIND_HANGUP, KIND_ERROR)
            assert one.kind != KIND_AUDIO or (one.payload and len(one.payload) % 2 == 0)
    whole = FrameParser()
    pieces = FrameParser()
    stream = b"".join(chunks)
    assert joined(whole.feed(stream)) == joined(
        [one for byte in range(len(stream)) for one in pieces.feed(stream[byte : byte + 1])]
    )
    assert whole.broken == pieces.broken


def test_adjacent_audio_is_joined_and_order_kept():
    a, b, c = b"\x01\x02" * 160, b"\x03\x04" * 160, b"\x05\x06" * 10
    got = FrameParser().feed(
        frame(KIND_AUDIO, a) + frame(KIND_AUDIO, b) + frame(KIND_DTMF, b"5") + frame(KIND_AUDIO, c)
    )
    assert got == [Frame(KIND_AUDIO, a + b), Frame(KIND_DTMF, b"5"), Frame(KIND_AUDIO, c)]


def test_unknown_kinds_and_empty_audio_are_skipped_and_counted():
    parser = FrameParser()
    got = parser.feed(frame(0x42, b"what") + frame(KIND_AUDIO) + frame(0x12, b"\0" * 640) + frame(KIND_AUDIO, b"ab"))
    assert got == [Frame(KIND_AUDIO, b"ab")]
    assert parser.junk == 3


def test_an_odd_byte_does_not_shift_the_samples_after_it():
    parser = FrameParser()
    assert parser.feed(frame(KIND_AUDIO, b"abc") + frame(KIND_AUDIO, b"de")) == [Frame(KIND_AUDIO, b"abde")]
    assert parser.junk == 1


def test_an_oversize_frame_breaks_the_stream_after_what_was_whole():
    parser = FrameParser()
    head = bytes((KIND_AUDIO,)) + (MAX_PAYLOAD + 1).to_bytes(2, "big")
    assert parser.feed(frame(KIND_AUDIO, b"ab") + head) == [Frame(KIND_AUDIO, b"ab")]
    assert parser.broken is not None
    assert str(MAX_PAYLOAD + 1) in parser.broken
    assert parser.feed(frame(KIND_AUDIO, b"ab")) == []


def test_endless_junk_breaks_the_stream():
    parser = FrameParser()
    parser.feed(frame(0x42) * MAX_JUNK)
    assert parser.broken is None
    parser.feed(frame(0x42))
    assert parser.broken is not None
