"""Sequences `first..last..step` of exact decimals, and the text each number has as a branch name and value.

The text of a number is what arbitrary-precision decimals conventionally print: digits kept as written (`0.10` stays
`0.10`), a positive exponent in scientific form (`1E+2`).
"""

from __future__ import annotations

from decimal import Context, Decimal

LIMIT = 100_000
_DIGITS = 200
# Exact for every sum of two accepted numbers: at most _DIGITS digits on either side of the point.
_EXACT = Context(prec=4 * _DIGITS)


def problem(first: Decimal, last: Decimal, step: Decimal) -> tuple[str, str | None] | None:
    """What is wrong with a sequence, as (message, hint), or None when it has 1 to `LIMIT` numbers."""
    for number in (first, last, step):
        if len(number.as_tuple().digits) > _DIGITS or abs(number.as_tuple().exponent) > _DIGITS:
            return f"number with more than {_DIGITS} digits in a sequence", None
    if not step:
        return "the step of a sequence cannot be zero", None
    if (last - first) * step < 0:
        way = "down" if last < first else "up"
        fix = f"{text(first)}..{text(last)}..{text(-step)}"
        return "empty sequence", f"to count {way}, give a step of the other sign: {fix}"
    if abs(_EXACT.subtract(last, first)) / abs(step) > LIMIT:
        return f"sequence of more than {LIMIT} numbers", None
    return None


def numbers(first: Decimal, last: Decimal, step: Decimal) -> list[Decimal]:
    """All numbers of the sequence, `last` included when it is hit. The sequence must have no `problem`."""
    found, number = [], first
    while number <= last if step > 0 else number >= last:
        found.append(number)
        number = _EXACT.add(number, step)
    return found


def text(number: Decimal) -> str:
    """The text of one number; there is no negative zero."""
    return str(number if number else abs(number))


def texts(first: Decimal, last: Decimal, step: Decimal) -> list[str]:
    """The texts of all numbers of the sequence."""
    return [text(number) for number in numbers(first, last, step)]
