"""GGUF files from Python values, right or wrong in one place: for the scripts that make seeds of fuzz targets."""

import struct


def text(value):
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def value(key, kind, payload):
    return text(key) + struct.pack("<I", kind) + payload


def array(kind, count, payload):
    return struct.pack("<IQ", kind, count) + payload


def gguf(values, tensors, version=3, alignment=32):
    infos, data = b"", b""
    for name, dims, kind, raw in tensors:
        data += b"\0" * (-len(data) % alignment)
        infos += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, len(data))
        data += raw
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values)) + b"".join(values) + infos
    return head + b"\0" * (-len(head) % alignment) + data


def u32(key, number):
    return value(key, 4, struct.pack("<I", number))


def f32(key, number):
    return value(key, 6, struct.pack("<f", number))
