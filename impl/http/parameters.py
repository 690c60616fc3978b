"""What stands behind the question mark, and keys in paths.

Rules
-----
1. A parameter without a value is there (`?stale`); of one that is given twice, the first counts.
2. What is not UTF-8 once it is percent-decoded is refused: it could not come out again as it went in.
3. Numbers and durations are Go's: no blanks, no underscores, no sign.

Parsed parameters are cached by their text, if it is short: clients ask with the same few again and again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode

from impl.durations import parse_duration
from impl.http.exchange import HttpError
from impl.server.requests import Consistency, Options

Parameters = Mapping[str, str]

SECOND_NS = 1_000_000_000
WAIT_NS_MAX = 600 * SECOND_NS
"""A blocking query waits no longer, whatever is asked for (Consul: maxQueryTime)."""
UNSIGNED_MAX = 2**64 - 1
CACHE_SIZE = 1024
CACHED_BYTES_MAX = 256
"""A longer query is parsed each time: it may have 64 kB, and what becomes of that ten times as many."""

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

_Parsed = TypeVar("_Parsed")


def _cached(parse: Callable[[bytes], _Parsed]) -> Callable[[bytes], _Parsed]:
    """The same, remembering what became of the last short queries."""
    remembering = lru_cache(CACHE_SIZE)(parse)

    @wraps(parse)
    def parse_or_remember(query: bytes) -> _Parsed:
        return remembering(query) if len(query) <= CACHED_BYTES_MAX else parse(query)

    return parse_or_remember


@_cached
def parse_parameters(query: bytes) -> Parameters:
    """By name. Raises HttpError 400 if it is not UTF-8."""
    try:
        pairs = parse_qsl(query.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise HttpError(400, "Invalid query string: it is not UTF-8") from None
    return MappingProxyType(dict(reversed(pairs)))


@_cached
def parse_options(query: bytes) -> Options:
    """How a query is to be answered. Raises HttpError 400 with Consul's texts."""
    parameters = parse_parameters(query)
    wait_ns = _duration(parameters.get("wait", ""), "Invalid wait time")
    max_stale = parameters.get("max_stale", "")
    max_stale_ns = _duration(max_stale, f'Invalid max_stale value "{max_stale}"')
    stale = "stale" in parameters or max_stale_ns > 0
    if stale and "consistent" in parameters:
        raise HttpError(400, "Cannot specify ?stale with ?consistent, conflicting semantics.")
    consistency: Consistency = "default"
    if stale:
        consistency = "stale"
    elif "consistent" in parameters:
        consistency = "consistent"
    index = parameters.get("index", "")
    return Options(
        datacenter=parameters.get("dc", ""),
        consistency=consistency,
        min_index=parse_unsigned(index, "Invalid index") if index else 0,
        wait_ns=min(max(wait_ns, 0), WAIT_NS_MAX),
        max_stale_ns=max(max_stale_ns, 0),
    )


def parse_unsigned(text: str, error: str) -> int:
    """A decimal number of at most 64 bits. Raises HttpError 400 with the given text."""
    if text.isascii() and text.isdecimal() and len(text) <= 20:  # more digits could only be zeros
        value = int(text)
        if value <= UNSIGNED_MAX:
            return value
    raise HttpError(400, error)


def parse_key(path: bytes) -> str:
    """Percent-decode a key, or a prefix of keys. Raises HttpError 400."""
    encoded = path
    if b"%" in path:
        if _BROKEN_ESCAPE.search(path):
            raise HttpError(400, "Invalid key name: % must be followed by two hexadecimal digits")
        encoded = unquote_to_bytes(path)
    try:
        key = encoded.decode()
    except UnicodeDecodeError:
        raise HttpError(400, "Invalid key name: it is not UTF-8") from None
    if not key.isprintable():
        # Consul: disable_http_unprintable_char_filter, which is off unless told otherwise.
        raise HttpError(400, "Invalid key name: it has unprintable characters")
    return key


def refuse_conflict(parameters: Parameters, *names: str) -> None:
    """Raises HttpError 400 if more than one of these is there."""
    if sum(name in parameters for name in names) > 1:
        raise HttpError(400, f"Conflicting flags: {urlencode(sorted(parameters.items()))}\n")


def _duration(text: str, error: str) -> int:
    if not text:
        return 0
    try:
        return parse_duration(text)
    except ValueError:
        raise HttpError(400, error) from None
