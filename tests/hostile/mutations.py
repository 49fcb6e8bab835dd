"""What damage and malice do to a file: bytes changed anywhere, and contents changed with checksums made right again."""

import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

Mutation = Callable[[Random, bytes], bytes]


# Any bytes


def flip_bits(random: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def truncate(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content))]


def extend(random: Random, content: bytes) -> bytes:
    return content + random.choice((random.randbytes(random.randrange(1, 5000)), content))


def _block(random: Random, content: bytes) -> tuple[int, int]:
    """Where a block of a random, mostly small, size begins and ends."""
    begin = random.randrange(len(content))
    return begin, min(len(content), begin + 2 ** random.randrange(12))


def overwrite(random: Random, content: bytes) -> bytes:
    begin, end = _block(random, content)
    fill = random.choice((b"\0", b"\xff", None))
    block = random.randbytes(end - begin) if fill is None else fill * (end - begin)
    return content[:begin] + block + content[end:]


def repeat(random: Random, content: bytes) -> bytes:
    begin, end = _block(random, content)
    return content[:end] + content[begin:end] * random.choice((1, 3, 100)) + content[end:]


def remove(random: Random, content: bytes) -> bytes:
    begin, end = _block(random, content)
    return content[:begin] + content[end:]


def splice(random: Random, content: bytes) -> bytes:
    """A block from elsewhere in the file in the place of another."""
    begin, end = _block(random, content)
    other = random.randrange(len(content))
    return content[:begin] + content[other : other + end - begin] + content[end:]


def extreme_field(random: Random, content: bytes) -> bytes:
    """A number of 1, 2, 4 or 8 bytes becomes an extreme one, mostly near the beginning, where headers lie."""
    width, order = random.choice((1, 2, 4, 8)), random.choice(("little", "big"))
    bits = 8 * width
    value = random.choice((0, 1, 2**bits - 1, 2 ** (bits - 1) - 1, 2 ** (bits - 1), 2**bits - 2, 2 ** (bits // 2)))
    place = random.randrange(min(len(content), random.choice((32, 512, len(content)))))
    return content[:place] + value.to_bytes(width, order) + content[place + width :]


def extreme_digits(random: Random, content: bytes) -> bytes:
    """A number that stands in the file as text becomes an extreme one."""
    places = [place for place, code in enumerate(content[:4096]) if 48 <= code < 58]
    if not places:
        return flip_bits(random, content)
    begin = end = random.choice(places)
    while end < len(content) and 48 <= content[end] < 58:
        end += 1
    number = random.choice((b"0", b"-1", b"1000000000", b"9" * 30, b"65536", b"1e999"))
    return content[:begin] + number + content[end:]


BYTES: tuple[Mutation, ...] = (
    flip_bits,
    truncate,
    extend,
    overwrite,
    repeat,
    remove,
    splice,
    extreme_field,
    extreme_digits,
)


def any_bytes(random: Random, content: bytes) -> bytes:
    """One to three changes of any kind."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        content = random.choice(BYTES)(random, content or b"\0")
    return content


# Contents of known structure


EXTREMES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    10**9,
    10**30,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../../x",
    "/x",
    "a\0b",
    [],
    {},
    [[]] * 50,
    {"kind": "dcn"},
)


def json_tree(random: Random, content: bytes) -> bytes:
    """A value somewhere in a JSON file becomes another one, or goes, or comes under another name."""
    tree = json.loads(content)
    for _ in range(random.choice((1, 1, 2, 4))):
        node = tree
        while isinstance(node, dict | list) and node:
            key = random.choice(list(node) if isinstance(node, dict) else range(len(node)))
            if not isinstance(node[key], dict | list) or not node[key] or random.random() < 0.25:
                break
            node = node[key]
        if not isinstance(node, dict | list) or not node:
            break
        what = random.randrange(4)
        if what == 0:
            del node[key]
        elif what == 1 and isinstance(node, dict):
            node[random.choice(("name", "kind", "x", "", "k", "data", "hidden"))] = random.choice(EXTREMES)
        else:
            node[key] = random.choice(EXTREMES)
    return json.dumps(tree).encode()


def safetensors_header(random: Random, content: bytes) -> bytes:
    size = int.from_bytes(content[:8], "little")
    header = json_tree(random, content[8 : 8 + size])
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def zip_member(random: Random, content: bytes) -> bytes:
    """A member of a zip archive is changed, renamed, doubled or left out; checksums are right again."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    place = random.randrange(len(members))
    name, data = members[place]
    what = random.randrange(6)
    if what == 0:
        del members[place]
    elif what == 1:
        members[place] = (random.choice((members[0][0], name + "x", "../x", "")), data)
    else:
        members[place] = (name, any_bytes(random, data or b"\0"))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data)
    return packed.getvalue()


def inside_gzip(mutation: Mutation) -> Mutation:
    def mutate(random: Random, content: bytes) -> bytes:
        return gzip.compress(mutation(random, gzip.decompress(content)), 1)

    return mutate


def tar_header(random: Random, content: bytes) -> bytes:
    """A field of a member's header is changed, and the header's checksum made right again."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        places = [member.offset for member in archive.getmembers()]
    place = random.choice(places)
    header = bytearray(content[place : place + 512])
    begin, width = random.choice(((0, 100), (100, 8), (108, 8), (124, 12), (136, 12), (156, 1), (157, 100), (345, 155)))
    value = random.choice((b"\0", b"\xff", b"7", b"../", b"/", b"S", b"x", b"L", b"\x80", random.randbytes(1)))
    header[begin : begin + width] = (value * width)[:width]
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return content[:place] + bytes(header) + content[place + 512 :]


def png_chunk(random: Random, content: bytes) -> bytes:
    """What a chunk of a PNG holds is changed, and the chunk's checksum made right again."""
    chunks, place = [], 8
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    place = random.randrange(len(chunks))
    kind, data = chunks[place]
    if kind == b"IDAT" and random.random() < 0.7:
        data = zlib.compress(any_bytes(random, zlib.decompress(data)))
    else:
        data = any_bytes(random, data or b"\0")
    chunks[place] = (kind, data)
    if random.random() < 0.2:
        random.shuffle(chunks)
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return content[:8] + b"".join(packed)
