"""Other inputs from good ones: by chance, but always the same for the same number generator."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

from tests.fuzz.target import Form, Target

_NUMBERS: Final = (
    *(0, -1, 1, 2, 7, 64, 127, 128, 255, 256, 4096, 65535, 65536, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63, 2**64),
    *(10**30, -(10**30), 0.5, -0.0, 1e300, 1.7e308, 5e-324),
)
_RAW_NUMBERS: Final = ("1e999", "-1e999", "NaN", "9" * 5000, "1E+2", "-0")
_TEXTS: Final = (
    *("", " ", "a", "A", ".", "..", "/", "//", "a/../b", "-", "--", "%", "%00", "%2e%2e", "*", "@", ":", "::", "[::1]"),
    *(
        "\x00",
        "\x1b[31m",
        "\x1b]0;x\x07",
        "\r\n",
        "\n",
        "\t",
        "\x7f",
        "\x9b",
        "\u2028",
        "\u202e",
        "\u200f",
        "\ufeff",
        "\ud800",
    ),
    *("é", "İ", "ß", "\U0001f600", "𝟙", "١", "x" * 300, "0", "-1", "1e999", "0x1f", "true", "null", "~", "None", "{}"),
    *("10.0.0.0/8", "10.1.0.5", "10.1.0.5/24", "fe80::1%eth0", "::ffff:10.0.0.1", "255.255.255.255", "0.0.0.0", "::"),
    *("02:42:0a:00:00:01", "00:00:00:00:00:00", "2026-11-29T10:00:00Z", "0001-01-01T00:00:00+23:59", "eth0", "lo"),
)
_BYTES: Final = (
    b"\x00",
    b"\xff",
    b"\x80",
    b"\x7f",
    b"\xc0\x0c",
    b"\xff\xff\xff\xff",
    b"\r\n",
    b"\n",
    b" ",
    b"\xed\xa0\x80",
)
_NODES_MAX: Final = 4000

Step = Callable[[bytearray, Random, Sequence[bytes]], None]


def mutated(target: Target, data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Return an input that is otherwise than `data`. others: inputs that parts may be taken from."""
    if target.form is Form.JSON and random.random() < 0.85:
        found = _json(data, others, target.words, random)
        if found is not None:
            return found[: target.length_max]
    words = [
        word.encode(errors="surrogatepass") for word in (*target.words, *(() if target.form is Form.BYTES else _TEXTS))
    ]
    buffer = bytearray(data)
    steps = _STEPS if target.form is Form.BYTES else _TEXT_STEPS
    for _ in range(1 + int(random.expovariate(0.5))):
        random.choice(steps)(buffer, random, words)
    if others and random.random() < 0.1:
        other = random.choice(others)
        buffer[random.randint(0, len(buffer)) :] = other[random.randint(0, len(other)) :]
    return bytes(buffer[: target.length_max])


# --- bytes


def _span(buffer: bytearray, random: Random) -> slice:
    start = random.randint(0, len(buffer))
    return slice(start, min(len(buffer), start + int(random.expovariate(0.1)) + 1))


def _flip(buffer: bytearray, random: Random, _: Sequence[bytes]) -> None:
    if buffer:
        buffer[random.randrange(len(buffer))] ^= 1 << random.randrange(8)


def _set(buffer: bytearray, random: Random, _: Sequence[bytes]) -> None:
    if buffer:
        buffer[random.randrange(len(buffer))] = random.choice(
            (0, 1, 2, 4, 12, 16, 63, 64, 127, 128, 192, 255, random.randrange(256))
        )


def _number(buffer: bytearray, random: Random, _: Sequence[bytes]) -> None:
    """Write a number of two or four bytes over what is there, also that of the length."""
    size = random.choice((2, 4))
    if len(buffer) >= size:
        at = random.randrange(len(buffer) - size + 1) & ~(size - 1 if random.random() < 0.7 else 0)
        value = random.choice(
            (0, 1, 3, 4, 5, 8, 16, len(buffer), len(buffer) - at, 0xFFFF, 1 << 31, random.randrange(1 << 16))
        )
        order = random.choice(("little", "big"))
        buffer[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, order)  # type: ignore[arg-type]


def _delete(buffer: bytearray, random: Random, _: Sequence[bytes]) -> None:
    del buffer[_span(buffer, random)]


def _cut(buffer: bytearray, random: Random, _: Sequence[bytes]) -> None:
    del buffer[random.randint(0, len(buffer)) :]


def _repeat(buffer: bytearray, random: Random, _: Sequence[bytes]) -> None:
    span = _span(buffer, random)
    at = random.randint(0, len(buffer))
    buffer[at:at] = bytes(buffer[span]) * random.choice((1, 1, 2, 30))


def _insert(buffer: bytearray, random: Random, words: Sequence[bytes]) -> None:
    at = random.randint(0, len(buffer))
    buffer[at:at] = random.choice([*_BYTES, *words])


def _write(buffer: bytearray, random: Random, words: Sequence[bytes]) -> None:
    buffer[_span(buffer, random)] = random.choice([*_BYTES, *words])


_STEPS: Final[tuple[Step, ...]] = (_flip, _set, _set, _number, _number, _delete, _cut, _repeat, _insert, _write)


# --- text


def _tokens(buffer: bytearray) -> list[bytes]:
    """Cut between letters and digits, and what is none: a token each, line breaks and blanks by themselves."""
    found: list[bytes] = []
    kind = None
    for number in buffer:
        char = bytes((number,))
        own = char.isalnum() or number >= 0x80
        if own and kind:
            found[-1] += char
        else:
            found.append(char)
        kind = own
    return found


def _token(buffer: bytearray, random: Random, words: Sequence[bytes]) -> None:
    """Put a word in the place of another, or of one that stands elsewhere in the text."""
    tokens = _tokens(buffer)
    if tokens:
        tokens[random.randrange(len(tokens))] = random.choice(
            [*words, *random.choices(tokens, k=max(1, len(words) // 2))]
        )
        buffer[:] = b"".join(tokens)


def _lines(buffer: bytearray, random: Random, _: Sequence[bytes]) -> None:
    """Move, repeat, indent or leave out a line."""
    lines = bytes(buffer).split(b"\n")
    at, to = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randrange(4):
        case 0:
            lines.insert(to, lines.pop(at))
        case 1:
            lines.insert(to, lines[at])
        case 2:
            lines[at] = b"  " + lines[at] if random.random() < 0.5 else lines[at].removeprefix(b"  ")
        case _:
            del lines[at]
    buffer[:] = b"\n".join(lines)


_TEXT_STEPS: Final[tuple[Step, ...]] = (
    _token,
    _token,
    _token,
    _lines,
    _lines,
    _insert,
    _write,
    _delete,
    _repeat,
    _set,
    _cut,
)


# --- JSON


def _json(data: bytes, others: Sequence[bytes], words: Sequence[str], random: Random) -> bytes | None:
    value = _parsed(data)
    if value is None:
        return None
    root = [value]
    for _ in range(1 + int(random.expovariate(0.6))):
        places = _places(root)
        if not places:
            break
        _change(random.choice(places), places, others, words, random)
    text = json.dumps(root[0], ensure_ascii=random.random() < 0.5)
    for number in range(len(_RAW_NUMBERS)):
        text = text.replace(f'"\\u0000raw{number}"', _RAW_NUMBERS[number])
    return text.encode(errors="surrogatepass")


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


Place = tuple[Any, Any]
"""A list or object, and where in it."""


def _places(root: list[Any]) -> list[Place]:
    found: list[Place] = []
    left: list[Any] = [root]
    while left and len(found) < _NODES_MAX:
        node = left.pop()
        steps = list(node) if isinstance(node, dict) else range(len(node))
        for step in steps:
            found.append((node, step))
            if isinstance(node[step], dict | list):
                left.append(node[step])
    return found


def _change(
    place: Place, places: Sequence[Place], others: Sequence[bytes], words: Sequence[str], random: Random
) -> None:
    node, step = place
    match random.randrange(14):
        case 10 | 11 | 12 | 13:
            node[step] = _alike(node[step], places, words, random)
        case 0 if isinstance(node, dict):
            del node[step]
        case 0 | 1 if isinstance(node, list) and len(node) < 50:
            node[step : step + 1] = [node[step]] * random.choice((0, 2, 2, 12)) or [None]
        case 1 if isinstance(node, dict):
            node[_text(step, words, random)] = node.pop(step)
        case 2:
            other, at = random.choice(places)
            node[step] = json.loads(json.dumps(other[at]))  # a copy: what is in itself has no end
        case 3 if others:
            found = _parsed(random.choice(others))
            other, at = random.choice(_places([found]))
            node[step] = other[at]
        case 4 if isinstance(node[step], str):
            node[step] = _text(node[step], words, random)
        case 5 if isinstance(node, dict):
            node[random.choice([*words, *_TEXTS])] = _value(words, random)
        case 6 if isinstance(node[step], dict | list):
            node[step] = [node[step]] if random.random() < 0.7 else {random.choice([*words, "a"]): node[step]}
        case _:
            node[step] = _value(words, random)


def _alike(value: Any, places: Sequence[Place], words: Sequence[str], random: Random) -> Any:
    """Return another of the same type: what readers check first is passed, and what comes behind is tried."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return random.choice((value + 1, value - 1, -value, *(each for each in _NUMBERS if type(each) is type(value))))
    others = [
        node[step] for node, step in random.sample(places, min(20, len(places))) if type(node[step]) is type(value)
    ]
    if isinstance(value, str) and random.random() < 0.6:
        return random.choice([*words, *_TEXTS, *others])
    return json.loads(json.dumps(random.choice(others))) if others else value


def _value(words: Sequence[str], random: Random) -> Any:
    match random.randrange(9):
        case 0:
            return random.choice((None, True, False))
        case 1 | 2:
            return random.choice(_NUMBERS)
        case 3:
            return f"\0raw{random.randrange(len(_RAW_NUMBERS))}"
        case 4:
            return random.choice(([], {}, [None], {"": None}, [[]], [{}]))
        case 5 if random.random() < 0.1:
            value: Any = 0
            for _ in range(random.choice((10, 70, 300))):
                value = [value] if random.random() < 0.5 else {"a": value}
            return value
        case _:
            return random.choice([*words, *_TEXTS])


def _text(text: str, words: Sequence[str], random: Random) -> str:
    at, to = sorted((random.randint(0, len(text)), random.randint(0, len(text))))
    return text[:at] + random.choice([*words, *_TEXTS, text[at:to] * 2]) + text[to if random.random() < 0.5 else at :]
