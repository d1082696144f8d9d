"""Taking secrets out of what is handed on: those that are known, and whatever looks like one. Pure.

Two ways, as each misses some: what stands under a telling name in data is looked up there and removed wherever it is repeated, in
messages too; and each line is searched for telling names, addresses with user and password, keys in PEM and known kinds of tokens.
A word too much is no harm.
"""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_interface
from typing import Final
from urllib.parse import quote

REMOVED: Final = "[removed]"

_WORDS: Final = (
    r"pass(?:word|wd|phrase|code)?|pwd|secret|token|api[_-]?key|apikey|private[_-]?key|access[_-]?key|signing[_-]?key|"
    r"encryption[_-]?key|shared[_-]?key|preshared[_-]?key|psk|credential|auth|authorization|bearer|cookie|session[_-]?id|"
    r"community|salt|otp|pin|pem|key[_-]?(?:data|material)|ssh[_-]?key"
)
_TELLING: Final = re.compile(rf"(?i)(?:^|[^a-z])(?:[a-z0-9]*?)(?:{_WORDS})s?(?:$|[^a-z])")
_NAME_MAX: Final = 256
"""Characters at the end of what may be a name: to search more costs with the square, and names are not so long."""
_FILES: Final = re.compile(r"(?i)(?:file|path|dir|folder|method|type)$")
"""What ends so says where a secret is, or which kind."""

_SHORTEST: Final = 4
"""Of a secret that is removed wherever it is repeated: shorter ones would take words with them, and go where they stand alone."""

_LONG: Final = 20
_HEX: Final = re.compile(r"[0-9a-fA-F]{24,}\Z")
_ONE_WORD: Final = re.compile(r"[A-Za-z0-9+/=_.~-]+\Z")
_ENTROPY: Final = 3.5
_PLAIN: Final = re.compile(r"(?i)(?:true|false|yes|no|on|off|null|none|[0-9]{1,8}|[a-z]{1,16}|/[\w./-]*)\Z")

_PEM: Final = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL)
_USERINFO: Final = re.compile(r"(?i)([a-z][a-z0-9+.-]{0,31}://)[^\s/@\"'<>]+@")
_TOKENS: Final = re.compile(
    r"\b(?:gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{10,}|A[KS]IA[0-9A-Z]{16}|hv[sb]\.[\w-]{16,}"
    r"|sk-[\w-]{16,}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"
)
_SCHEMES: Final = re.compile(r"(?i)\b((?:bearer|basic|negotiate|token)\s+)[\w+/=.~-]{8,}")
_NAMED: Final = re.compile(
    rf"""(?ix)
    ( ["']? (?<![a-z]) [\w.\- ]{{0,64}}? (?:{_WORDS}) s? (?![a-z]) [\w.-]{{0,64}} ["']? \s* (?: : (?:\s|(?=["'])) | = ) \s* )
    ( \[removed] | "(?:[^"\\]|\\.)*" | '(?:[^']|'')*' | [^\s,;\]}}\#"']+ )
    """
)
_ANY_WORD: Final = re.compile(rf"(?i){_WORDS}|basic|negotiate")
_PART: Final = r"[\w.-]{0,256}"
_BLOCK: Final = re.compile(
    rf"(?i)^(\s*(?:- )?)[\"']?{_PART}?(?:{_WORDS})s?{_PART}[\"']?\s*:\s*[|>][-+0-9]*\s*(?:#.*)?$"
)


def is_telling(name: str) -> bool:
    """Return whether a name says that what stands under it is secret."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name[-_NAME_MAX:])
    return _FILES.search(parted) is None and _TELLING.search(parted) is not None


def looks_secret(value: str) -> bool:
    """Return whether a value under an innocent name looks like a key or token: long, one word, and without pattern."""
    if _TOKENS.search(value) is not None or "-----BEGIN" in value:
        return True
    if len(value) < _LONG or _ONE_WORD.match(value) is None or value.startswith(("/", "./")) or _is_address(value):
        return False
    if _HEX.match(value):
        return True
    kinds = sum(re.search(kind, value) is not None for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    return kinds > 1 and _entropy(value) > _ENTROPY and re.fullmatch(r"[a-z]+([-._/][a-z0-9]+)*", value) is None


def _entropy(text: str) -> float:
    """Return bits per character."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


def _is_address(value: str) -> bool:
    try:
        ip_interface(value)
    except ValueError:
        return False
    return True


def secrets_in(data: object) -> Iterator[str]:
    """Yield what is secret in plain data, as YAML and JSON give it: under telling names, and labels and options that look so."""
    return _secrets_in(data, set(), is_secret=False, is_option=False)


def _secrets_in(data: object, seen: set[tuple[int, bool, bool]], *, is_secret: bool, is_option: bool) -> Iterator[str]:
    """seen: what was looked through, and as what, as YAML's aliases share it. is_option: it stands below labels or options."""
    if isinstance(data, Mapping | list | tuple):
        place = id(data), is_secret, is_option
        if place in seen:
            return
        seen.add(place)
    match data:
        case Mapping():
            for key, value in data.items():
                name = str(key)
                is_below = is_option or name in _OPTIONS
                yield from _secrets_in(value, seen, is_secret=is_secret or is_telling(name), is_option=is_below)
        case [str(name), str(value)] if is_telling(name):
            yield value
        case list() | tuple():
            for each in data:
                yield from _secrets_in(each, seen, is_secret=is_secret, is_option=is_option)
        case str():
            yield from _of_text(data, is_secret=is_secret, is_option=is_option)
        case int() | float() if is_secret and not isinstance(data, bool):
            yield str(data)


def _of_text(text: str, *, is_secret: bool, is_option: bool) -> Iterator[str]:
    name, separator, value = text.partition("=")
    if is_secret:
        yield text
    elif separator and (is_telling(name) or (is_option and looks_secret(value))):
        yield value
    elif looks_secret(text) if is_option else _TOKENS.search(text) is not None:
        yield text


_OPTIONS: Final = frozenset({"labels", "driver_opts", "options", "Labels", "Options", "DriverOpts", "GwOptions"})


def of_plugins(options: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the values of a plugin's options that may be secret: nobody here knows what they mean, so all but plain words."""
    for name, value in options:
        if is_telling(name) or not (_PLAIN.match(value) or _is_address(value)):
            yield value


class Redaction:
    """Takes secrets out of texts. known: secrets, to be removed wherever they are; too short ones only where a name tells."""

    def __init__(self, known: Iterable[str]) -> None:
        found = {line.strip() for secret in known for line in (secret, *secret.splitlines())}
        self.known = tuple(sorted((each for each in found if _is_long_enough(each)), key=lambda s: (-len(s), s)))
        forms = dict.fromkeys(form for secret in self.known for form in _forms(secret))
        longest = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest))) if longest else None

    def text(self, text: str) -> str:
        text = _PEM.sub(REMOVED, text)
        if self._pattern is not None:
            text = self._pattern.sub(REMOVED, text)
        return "".join(map(_line, _without_blocks(text).splitlines(keepends=True)))


def _line(line: str) -> str:
    """Remove what looks secret. The slow searches are for lines that have what they begin with."""
    line = _TOKENS.sub(REMOVED, line)
    if "://" in line:
        line = _USERINFO.sub(rf"\1{REMOVED}@", line)
    if _ANY_WORD.search(line) is None:
        return line
    return _NAMED.sub(_without_value, _SCHEMES.sub(rf"\1{REMOVED}", line))


def _is_long_enough(secret: str) -> bool:
    return len(secret) >= _SHORTEST and secret.casefold() not in ("true", "false", "none", "null")


def _forms(secret: str) -> Iterator[str]:
    """Yield how a secret may be written: as it is, in URLs, in JSON and YAML, in base64."""
    yield secret
    yield quote(secret, safe="")
    yield _escaped(secret)
    yield _escaped(_escaped(secret))  # JSON in JSON
    yield secret.replace("'", "''")
    if len(secret) >= _LONG // 2:
        yield b64encode(secret.encode()).decode().rstrip("=")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _without_value(match: re.Match[str]) -> str:
    """Remove a value under a telling name; what says where the secret is stays."""
    name = match[1].strip().rstrip(":=").strip().strip("\"'")
    if _FILES.search(name) or match[2] in (REMOVED, "{", "[", "|", ">", "null", "true", "false", "~"):
        return match[0]
    marks = match[2][0] if match[2][0] in "\"'" else ""
    return f"{match[1]}{marks}{REMOVED}{marks}"


def _without_blocks(text: str) -> str:
    """Remove what stands indented below a telling name of YAML that ends in | or >."""
    if "|" not in text and ">" not in text:
        return text
    lines: list[str] = []
    hidden: int | None = None
    for line in text.splitlines(keepends=True):
        indent = len(line) - len(line.lstrip())
        if hidden is not None and (not line.strip() or indent > hidden):
            if line.strip():
                lines.append(f"{line[:indent]}{REMOVED}\n")
            continue
        block = _BLOCK.match(line.rstrip("\n"))
        hidden = len(block[1]) if block else None
        lines.append(line)
    return "".join(lines)


def in_environment(environment: Mapping[str, str]) -> Iterator[str]:
    return (value for name, value in environment.items() if is_telling(name))
