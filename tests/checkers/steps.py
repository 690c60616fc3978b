"""Choices out of which tests make histories, drawn as bytes: to draw a list of tuples takes far longer."""

from __future__ import annotations

from hypothesis import strategies as st

Choices = list[tuple[int, int, int]]
"""Steps: which client goes on, and two numbers that decide what it does."""


def choices(
    *, clients: int, least: int = 0, most: int, what: int = 60, how: int = 60
) -> st.SearchStrategy[Choices]:
    """From `least` to `most` steps, every number of them as likely (a list would have about five); the two
    numbers below `what` and `how`."""

    def decoded(drawn: bytes) -> Choices:
        steps = zip(drawn[1::3], drawn[2::3], drawn[3::3], strict=True)
        chosen = [(client % clients, one % what, other % how) for client, one, other in steps]
        return chosen[: least + drawn[0] % (most - least + 1)]

    size = 1 + 3 * most
    return st.binary(min_size=size, max_size=size).map(decoded)
