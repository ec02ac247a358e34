"""Checks the vectors of the link protocol against FORMATS.md, with Python's own library and nothing of the gateway's.

Usage: vectors_check.py crates/exchange/tests/vectors/link.txt

Ed25519 is RFC 8032, section 6, in its shortest form: slow, and not for anything but checking.
"""

import base64
import hashlib
import hmac
import struct
import sys

# ---- Ed25519 (RFC 8032)

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    e = (a[1] - a[0]) * (b[1] - b[0])
    f = (a[1] + a[0]) * (b[1] + b[0])
    g = 2 * a[3] * b[3] * D
    h = 2 * a[2] * b[2]
    e, f, g, h = f - e, h - g, h + g, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def x_of(y, sign):
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P)
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - square) % P == 0, "not a point"
    return P - x if x & 1 != sign else x


Y = 4 * pow(5, P - 2, P) % P
X = x_of(Y, 0)
BASE = (X, Y, 1, X * Y % P)


def compress(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decompress(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    x = x_of(y, sign)
    return x, y, 1, x * y % P


def sha512_scalar(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


def expand(seed):
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little")
    return scalar & (1 << 254) - 8 | 1 << 254, digest[32:]


def public(seed):
    return compress(times(expand(seed)[0], BASE))


def sign(seed, message):
    scalar, prefix = expand(seed)
    key = compress(times(scalar, BASE))
    r = sha512_scalar(prefix, message)
    point = compress(times(r, BASE))
    s = (r + sha512_scalar(point, key, message) * scalar) % L
    return point + s.to_bytes(32, "little")


def verify(key, message, signature):
    point, s = signature[:32], int.from_bytes(signature[32:], "little")
    assert s < L
    h = sha512_scalar(point, key, message)
    left, right = times(s, BASE), add(decompress(point), times(h, decompress(key)))
    return compress(left) == compress(right)


# ---- protobuf


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def message(*fields):
    """Encodes (number, value) in the order given; what is empty is left out, as proto3 does."""
    out = b""
    for number, value in fields:
        if isinstance(value, str):
            value = value.encode()
        if isinstance(value, int):
            out += varint(number << 3) + varint(value) if value else b""
        elif value is not None and value != b"":
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def decode(data):
    """Returns (number, value) in the order of the bytes."""
    fields, at = [], 0

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            fields.append((tag >> 3, number()))
        else:
            assert tag & 7 == 2, f"wire type {tag & 7}"
            length = number()
            assert at + length <= len(data), "cut off"
            fields.append((tag >> 3, data[at : at + length]))
            at += length
    return fields


def one(fields, number, default=b""):
    found = [value for key, value in fields if key == number]
    assert len(found) < 2
    return found[0] if found else default


# ---- hashes and trees (RFC 9162, section 2.1)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def root_of(leaf, index, size, path):
    node, last = leaf, size - 1
    assert index <= last
    path = list(path)
    while last:
        if index & 1 or index != last:
            sibling = path.pop(0)
            left, right = (sibling, node) if index & 1 else (node, sibling)
            node = sha256(b"\1", left, right)
        index >>= 1
        last >>= 1
    assert not path, "the path is too long"
    return node


def unpadded(text):
    assert "=" not in text, "padding is not written"
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def fields_digest(paths):
    return sha256(b"drawbridge.fields/v1\n", *(path.encode() + b"\n" for path in sorted(paths)))


# ---- FORMATS.md


def framed(*messages):
    return b"".join(b"\0" + struct.pack(">I", len(m)) + m for m in messages)


def keyed_digest(nonce, data, size=2048):
    if len(data) > size:
        data = b"\1" + b"".join(sha256(data[at : at + size]) for at in range(0, len(data), size))
    return hmac.new(nonce, data, hashlib.sha256).digest()


def response_digest(nonce, messages, code=0, text=b"", details=b""):
    end = b"\xff" + struct.pack(">i", code)
    end += struct.pack(">I", len(text)) + text + struct.pack(">I", len(details)) + details
    return keyed_digest(nonce, messages + end)


def promise(leaf_opening):
    origin, index = one(leaf_opening, 1).decode(), one(leaf_opening, 2, 0)
    leaf = base64.b64encode(one(leaf_opening, 3)).decode()
    return f"drawbridge.promise/v1\n{origin}\n{index}\n{leaf}\n".encode()


def leaf_of(shared, leaf_opening):
    half = sha256(one(leaf_opening, 4), shared)
    return sha256(b"\0", b"drawbridge.leaf/v1\n", half, one(leaf_opening, 5))


def check_seal(seed, tag, claims, seal, leaf_opening):
    key = public(seed)
    signature, size, index = one(seal, 1), one(seal, 2, 0), one(seal, 3, 0)
    path = [value for number, value in seal if number == 4]
    promised = promise(leaf_opening) if leaf_opening else b""
    leaf = sha256(b"\0", tag.encode(), b"\n", struct.pack(">I", len(claims)), claims, promised)
    signed = b"drawbridge.seal/v1\n" + struct.pack(">I", size) + root_of(leaf, index, size, path)
    assert verify(key, signed, signature), "the signature does not verify"
    assert sign(seed, signed) == signature, "the signature is not the one of RFC 8032"


def vkey(name, key):
    typed = b"\1" + key
    number = sha256(name.encode(), b"\n", typed)[:4].hex()
    return f"{name}+{number}+{base64.b64encode(typed).decode()}"


def block(*entries):
    """The application's metadata: sorted by key; `sorted` keeps the order within one."""
    return b"".join(
        struct.pack(">I", len(part)) + part for entry in sorted(entries, key=lambda entry: entry[0]) for part in entry
    )


def metadata_digest(nonce, kind, *parts):
    return hmac.new(nonce, f"drawbridge.metadata.{kind}/v1\n".encode() + b"".join(parts), hashlib.sha256).digest()


def consumer_claims(vectors, sequence, request_digest, metadata=b""):
    actor = message((1, "sw-1042"), (2, "social worker"))
    return message(
        (1, vectors.exchange), (2, "council.example"), (3, "main"), (4, "social-care"),
        (5, "trust.example"), (6, "main"), (7, b"\x5e" * 16), (8, sequence),
        (9, "/health.v1.Patients/Find"), (10, b"\xc0" * 32), (11, "council-trust-safeguarding"),
        (12, b"\xa9" * 32), (13, "safeguarding"), (14, "Children Act 2004, section 11"), (15, actor),
        (16, "CASE-2041"), (17, "née Müller"),
        (18, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), (19, vectors.time),
        (20, vectors.nonce), (21, request_digest), (22, metadata), (24, 1),
    )  # fmt: skip


class Vectors:
    """The file, by section; a section is a list of (name, value)."""

    time = 1795435200000
    nonce = b"\xa5" * 32
    # UUID version 7: 48 bits of time, then the version, the variant and random bits.
    exchange = struct.pack(">Q", time)[2:] + b"\x77\x07\x87" + b"\x07" * 7

    def __init__(self, path):
        self.sections, section = {}, None
        with open(path, encoding="utf-8") as file:
            for line in file.read().splitlines():
                if line.startswith("["):
                    section = self.sections.setdefault(line[1:-1], [])
                elif line and not line.startswith("#"):
                    section.append(tuple((line + " ").split(": ", 1)))
        self.sections = {k: [(n, v.strip()) for n, v in s] for k, s in self.sections.items()}

    def __getitem__(self, name):
        return dict(self.sections[name])

    def hex(self, section, name):
        return bytes.fromhex(self[section][name])

    def headers(self, section):
        """Returns (claims, seal, leaf opening or None) for each set of headers."""
        sets = []
        for name, value in self.sections[section]:
            if name == "drawbridge-claims-bin":
                sets.append([unpadded(value), None, None])
            elif name == "drawbridge-signature-bin":
                sets[-1][1] = decode(unpadded(value))
            elif name == "drawbridge-leaf-bin":
                sets[-1][2] = decode(unpadded(value))
        return sets


def main(path):
    v = Vectors(path)
    seeds = {}
    for side, name in [("consumer", "council.example/gateway/main"), ("provider", "trust.example/gateway/main")]:
        seeds[side] = v.hex("keys", f"{side} seed")
        assert v["keys"][f"{side} key"] == vkey(name, public(seeds[side])), f"{side} key"

    # Digests.
    request = framed(b"\x0a\x0a9990000018")
    request_digest = keyed_digest(v.nonce, request)
    assert v.hex("request", "nonce") == v.nonce
    assert v.hex("request", "message with prefix") == request
    assert v.hex("request", "request digest") == request_digest, "request digest"
    answer = framed(b"\x0a\x05first", b"")
    assert v.hex("answer", "messages with prefixes") == answer
    assert v.hex("answer", "running digest") == keyed_digest(v.nonce, answer), "running digest"
    for name in ["ok", "status"]:
        code = int(v["answer"][f"{name} code"])
        text, details = (v.hex("answer", f"{name} {part}") for part in ["message", "details"])
        expected = response_digest(v.nonce, answer, code, text, details)
        assert v.hex("answer", f"{name} response digest") == expected, f"{name} response digest"
    assert v["answer"]["status message"] == "100 % – née\n".encode().hex()
    for count in [7, 8, 15, 16, 128, 200]:
        long = framed(*[b"\x5a" * 251] * count)
        assert len(long) == int(v["long answer"][f"{count} messages"]), f"{count} messages"
        assert v.hex("long answer", f"running digest {count}") == keyed_digest(v.nonce, long), f"running digest of {count}"
        closed = response_digest(v.nonce, long)
        assert v.hex("long answer", f"response digest {count}") == closed, f"response digest of {count}"
    for at in range(2):
        assert v.hex("fields", f"digest {at}") == fields_digest(v["fields"][f"paths {at}"].split()), f"fields {at}"

    # Claims and seals.
    claims = consumer_claims(v, 1, request_digest)
    assert v.hex("consumer claims", "claims") == claims, "the claims are encoded differently"
    assert v.hex("consumer claims", "claims digest") == sha256(claims)
    expected = {
        "consumer claims": [claims],
        "consumer claims, one of a batch of three": [consumer_claims(v, n, request_digest) for n in [2, 3, 4]],
    }
    seals = {}
    for section, all_claims in expected.items():
        sets = v.headers(section)
        assert [s[0] for s in sets] == all_claims, section
        for found, seal, leaf in sets:
            assert leaf is None
            check_seal(seeds["consumer"], v[section]["tag"], found, seal, None)
        seals[section] = sets
    assert [one(s[1], 2, 0) for s in seals["consumer claims, one of a batch of three"]] == [3, 3, 3]

    # The provider's side, and the leaves that it promises.
    consumer_seal = unpadded(v["consumer claims"]["drawbridge-signature-bin"])
    opening = message((1, v.exchange), (2, "trust.example"), (3, "main"), (4, sha256(claims)), (5, v.time + 20))
    closing = message(
        (1, v.exchange), (2, "trust.example"), (3, "main"), (4, sha256(claims)), (5, v.time + 40),
        (8, response_digest(v.nonce, answer)), (9, 2), (10, fields_digest(["name.family"])), (11, fields_digest([])),
    )  # fmt: skip
    for index, (section, kind, opened, closed) in enumerate(
        [
            ("provider opening", 1, opening, b""),
            ("provider closing of a stream", 3, opening, closing),
            ("provider closing of a refusal", 4, b"", None),
        ]
    ):
        ((found, seal, leaf),) = v.headers(section)
        closed = found if closed is None else closed
        assert found == (closed or opened), f"{section}: claims"
        shared = message(
            (1, kind), (2, 2), (3, v.exchange), (4, claims), (5, consumer_seal), (8, opened), (9, closed)
        )
        assert v.hex(section, "shared half") == shared, f"{section}: shared half"
        assert one(leaf, 1).decode() == "trust.example/log/main" and one(leaf, 2, 0) == index
        assert one(leaf, 3) == leaf_of(shared, leaf), f"{section}: leaf"
        check_seal(seeds["provider"], v[section]["tag"], found, seal, leaf)

    # A streamed request: what the consumer signs of the whole of it is part of the provider's leaf.
    streamed = keyed_digest(v.nonce, answer)
    ((found, seal, leaf),) = v.headers("consumer closing of a streamed request")
    whole = message((1, v.exchange), (2, streamed), (3, 2))
    assert found == whole and leaf is None, "consumer closing"
    check_seal(seeds["consumer"], v["consumer closing of a streamed request"]["tag"], found, seal, None)
    whole_seal = unpadded(v["consumer closing of a streamed request"]["drawbridge-signature-bin"])
    section = "provider closing of a streamed request"
    ((found, seal, leaf),) = v.headers(section)
    assert found == closing + message((13, streamed), (14, 2), (16, 1)), f"{section}: claims"
    shared = message(
        (1, 3), (2, 2), (3, v.exchange), (4, claims), (5, consumer_seal), (6, whole), (7, whole_seal), (8, opening), (9, found)
    )
    assert v.hex(section, "shared half") == shared, f"{section}: shared half"
    assert one(leaf, 2, 0) == 3 and one(leaf, 3) == leaf_of(shared, leaf), f"{section}: leaf"
    check_seal(seeds["provider"], v[section]["tag"], found, seal, leaf)

    # A refusal: the signed reason, the difference of the clocks (zigzag), and one that promises nothing.
    ((refused, _, _),) = v.headers("provider closing of a refusal")
    fields = decode(refused)
    assert (one(fields, 6), one(fields, 7).decode(), one(fields, 15)) == (9, "CLOCK_SKEW", 2 * 130000 - 1)
    text, details = (v.hex("provider closing of a refusal", f"status {part}") for part in ["message", "details"])
    assert one(fields, 8) == response_digest(v.nonce, b"", 9, text, details), "the refusal's response digest"
    ((found, seal, leaf),) = v.headers("provider closing without a promise")
    assert found == refused and leaf is None
    check_seal(seeds["provider"], v["provider closing without a promise"]["tag"], found, seal, None)

    # What a consumer's gateway refuses by itself.
    ((found, seal, leaf),) = v.headers("local refusal")
    shared = message((1, 4), (2, 1), (3, v.exchange), (16, 7), (17, "NO_AGREEMENT"))
    assert found == v.exchange and v.hex("local refusal", "shared half") == shared
    assert one(leaf, 3) == leaf_of(shared, leaf)
    check_seal(seeds["consumer"], v["local refusal"]["tag"], found, seal, leaf)
    # The application's metadata.
    section = "application metadata of a request"
    asked = block(
        (b"x-trail", b"second"), (b"x-request-id", b"b"), (b"x-blob-bin", b"\0\1\xff"), (b"x-request-id", b"a"), (b"x-blob-bin", b"\xff")
    )  # fmt: skip
    digest = metadata_digest(v.nonce, "request", asked)
    assert (v.hex(section, "block"), v.hex(section, "digest")) == (asked, digest), section
    assert unpadded(v[section]["drawbridge-metadata-bin"]) == asked
    ((found, seal, leaf),) = v.headers(section)
    assert found == consumer_claims(v, 5, request_digest, digest) and leaf is None, f"{section}: claims"
    check_seal(seeds["consumer"], v[section]["tag"], found, seal, None)
    section = "application metadata of an answer"
    initial, trailing = block((b"x-request-id", b"first")), block((b"x-trail", b""), (b"x-blob-bin", b"\xab\xab\xab"))
    assert (v.hex(section, "initial"), v.hex(section, "trailing")) == (initial, trailing), section
    for name, before, after in [("digest", initial, trailing), ("digest of initial alone", initial, b""), ("digest of trailing alone", b"", trailing)]:
        expected = metadata_digest(v.nonce, "answer", struct.pack(">I", len(before)), before, after)
        assert v.hex(section, name) == expected, f"{section}: {name}"
    print("all vectors agree with FORMATS.md")


if __name__ == "__main__":
    main(sys.argv[1])
