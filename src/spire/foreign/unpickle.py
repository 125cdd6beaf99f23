"""Reads pickle streams without the pickle machine: no name in a file is ever imported, looked up or called.

A pickle is a program. `Machine` runs its few data instructions itself, on plain containers. A name such as `os.system`
is only a `Name` (two strings), and is refused when it is not on the reader's list; calling a listed one either runs a
function of ours that checks its arguments (`Vocabulary.calls`), or leaves an inert `Record` of what was asked. So there
is nothing in the process that a file could reach, and the list is a second wall, not the only one.

Bounds: `Limits.operations` instructions and container items, the byte limit of the source, `Limits.nesting` open
containers; dictionary keys are short plain values, because hashing a tuple that contains itself a million times over
takes forever and deep ones overflow the C stack. The result may share parts and be deep: `spire.foreign.settings` walks
it safely. Everything refused is a UserError that names the file. The instructions are those of Python's `pickletools`.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from spire.errors import UserError
from spire.foreign.source import Source, refuse

_MARK = object()
_INTEGER_BYTES = 64


@dataclass(frozen=True)
class Name:
    """A global that a pickle mentions; only text."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Record:
    """What a pickle wanted to construct: the name, the arguments, and the state, items and pairs given afterwards."""

    __slots__ = ("args", "items", "pairs", "state", "what")

    def __init__(self, what: Name, args: tuple):
        self.what, self.args, self.state = what, args, None
        self.items: list = []
        self.pairs: dict = {}


@dataclass(frozen=True)
class Vocabulary:
    """The names a file may mention, as `module.name`.

    calls: what a call of the name does instead, a function of (machine, arguments). inert: names that become Records.
    packages: prefixes ending in a dot; every class of these packages is inert.
    """

    calls: Mapping[str, Callable[[Machine, tuple], object]] = field(default_factory=dict)
    inert: frozenset[str] = frozenset()
    packages: tuple[str, ...] = ()

    def allows(self, name: Name) -> bool:
        full = str(name)
        return "." not in name.name and (
            full in self.calls or full in self.inert or any(full.startswith(package) for package in self.packages)
        )


@dataclass(frozen=True)
class Limits:
    operations: int = 1_000_000  # HuBERT-large with its optimizer state takes under 100,000
    nesting: int = 1000


class Machine:
    """One pickle read from `source`. `persistent` turns a persistent id into a value (torch's storages)."""

    def __init__(
        self,
        source: Source,
        vocabulary: Vocabulary,
        limits: Limits | None = None,
        persistent: Callable[[object], object] | None = None,
    ):
        self.source, self.vocabulary, self.limits = source, vocabulary, limits or Limits()
        self._persistent = persistent
        self._stack: list = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}
        self._spent = 0

    def refuse(self, reason: str):
        refuse(self.source.where, reason)

    def spend(self, amount: int) -> None:
        """Account for work in proportion to `amount`; UserError when the file has used up its allowance."""
        self._spent += amount
        if self._spent > self.limits.operations:
            self.refuse(f"needs more than {self.limits.operations} pickle operations")

    def load(self) -> object:
        """The value of the pickle: None, bool, int, float, str, bytes, list, tuple, dict, set, Name, Record, or what
        the vocabulary's calls return. Ends right behind the pickle's last byte. UserError for everything else."""
        exactly = self.source.exactly
        try:
            while (code := exactly(1)) != b".":
                self.spend(1)
                operation = _OPERATIONS.get(code)
                if operation is None:
                    self.refuse(f"holds the pickle instruction {code!r}, which no array or setting needs")
                operation(self)
            return self._pop()
        except UserError:
            raise
        except Exception as e:  # A boundary of trust: whatever a broken stream trips over is the file's fault.
            self.refuse(f"is not a well-formed pickle: {type(e).__name__}")

    # The stack.

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> object:
        floor = self._marks[-1] if self._marks else 0
        if len(self._stack) <= floor:
            self.refuse("is not a well-formed pickle: the stack is empty")
        return self._stack.pop()

    def _top(self) -> object:
        value = self._pop()
        self._stack.append(value)
        return value

    def _mark(self) -> None:
        if len(self._marks) >= self.limits.nesting:
            self.refuse(f"nests its data more than {self.limits.nesting} deep")
        self._marks.append(len(self._stack))

    def _since_mark(self) -> list:
        if not self._marks:
            self.refuse("is not a well-formed pickle: an item list without a start")
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        self.spend(len(items))
        return items

    def _store(self, index: int) -> None:
        if index < 0:
            self.refuse("is not a well-formed pickle: a negative memo index")
        self._memo[index] = self._top()

    def _recall(self, index: int) -> None:
        if index not in self._memo:
            self.refuse(f"is not a well-formed pickle: memo {index} was never stored")
        self._push(self._memo[index])

    # Numbers and texts.

    def _number(self, form: str) -> int | float:
        return struct.unpack(form, self.source.exactly(struct.calcsize(form)))[0]

    def _long(self, size: int) -> None:
        if not 0 <= size <= _INTEGER_BYTES:
            self.refuse(f"holds an integer of {size} bytes")
        self._push(int.from_bytes(self.source.exactly(size), "little", signed=True))

    def _integer_line(self) -> None:
        line = self.source.line().rstrip(b"L")
        if len(line) > 2 * _INTEGER_BYTES:
            self.refuse(f"holds an integer of {len(line)} digits")
        self._push({b"00": False, b"01": True}.get(line) if line in (b"00", b"01") else int(line))

    def _text(self, form: str) -> None:
        self._push(self.source.exactly(self._number(form)).decode("utf-8", "surrogatepass"))

    def _old_text(self, form: str) -> None:
        self._push(self.source.exactly(self._number(form)).decode("latin-1"))

    def _quoted(self) -> None:
        line = self.source.line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            self.refuse("is not a well-formed pickle: a text without quotes")
        self._push(codecs.escape_decode(line[1:-1])[0].decode("latin-1"))

    # Containers.

    def _key(self, value: object) -> object:
        small = isinstance(value, int) and -(1 << 63) <= value < 1 << 63
        if not (small or value is None or isinstance(value, str | bytes)):
            self.refuse(f"uses a {type(value).__name__} as a dictionary key")
        return value

    def _append(self, items: list) -> None:
        target = self._top()
        target = target.items if isinstance(target, Record) else target
        if not isinstance(target, list):
            self.refuse(f"appends to a {type(target).__name__}")
        target.extend(items)

    def _set_items(self, items: list) -> None:
        target = self._top()
        target = target.pairs if isinstance(target, Record) else target
        if not isinstance(target, dict) or len(items) % 2:
            self.refuse(f"sets items of a {type(target).__name__}")
        target.update(self._pairs(items))

    def _pairs(self, items: list) -> dict:
        return {self._key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}

    def _add_items(self) -> None:
        items = self._since_mark()
        target = self._top()
        if not isinstance(target, set):
            self.refuse(f"adds items to a {type(target).__name__}")
        target.update(map(self._key, items))

    def _tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(items)))

    # Names and what is made of them.

    def _name(self, module: object, name: object) -> Name:
        if not isinstance(module, str) or not isinstance(name, str):
            self.refuse("takes a name from something that is not text")
        found = Name(module, name)
        if not self.vocabulary.allows(found):
            self.refuse(f"mentions {str(found)[:120]!r}, which is not on the list of harmless names; nothing was run")
        return found

    def _name_lines(self) -> Name:
        module = self.source.line().decode("utf-8")
        return self._name(module, self.source.line().decode("utf-8"))

    def _stack_name(self) -> None:
        name = self._pop()
        self._push(self._name(self._pop(), name))

    def _make(self, what: object, args: object) -> None:
        if not isinstance(what, Name) or not isinstance(args, tuple):
            self.refuse(f"calls a {type(what).__name__}")
        self.spend(len(args))
        self._push(self.construct(what, args))

    def construct(self, what: Name, args: tuple) -> object:
        """What a call of the listed name `what` stands for."""
        call = self.vocabulary.calls.get(str(what))
        return Record(what, args) if call is None else call(self, args)

    def _reduce(self) -> None:
        args = self._pop()
        self._make(self._pop(), args)

    def _new_keywords(self) -> None:
        keywords, args = self._pop(), self._pop()
        if keywords != {}:
            self.refuse("constructs an object with keyword arguments")
        self._make(self._pop(), args)

    def _object(self) -> None:
        items = self._since_mark()
        if not items:
            self.refuse("is not a well-formed pickle: a construction without a class")
        self._make(items[0], tuple(items[1:]))

    def _instance(self) -> None:
        name = self._name_lines()
        self._make(name, tuple(self._since_mark()))

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Record):
            target.state = state
        elif hasattr(type(target), "build"):
            target.build(self, state)
        elif not isinstance(target, dict):  # An OrderedDict's attributes (torch's version numbers) are left out.
            self.refuse(f"sets the state of a {type(target).__name__}")

    def _persist(self) -> None:
        if self._persistent is None:
            self.refuse("refers to data outside of the pickle")
        self._push(self._persistent(self._pop()))

    def _protocol(self) -> None:
        if self._number("<B") > 5:
            self.refuse("is a pickle of an unknown protocol")

    def _frame(self) -> None:
        size = self._number("<Q")
        if size > self.source.limit:
            self.refuse(f"announces a frame of {size} bytes, the limit is {self.source.limit}")


_Operation = Callable[[Machine], object]
_OPERATIONS: dict[bytes, _Operation] = {
    b"(": Machine._mark,
    b"0": lambda m: m._marks.pop() if m._marks and len(m._stack) == m._marks[-1] else m._pop(),
    b"1": Machine._since_mark,
    b"2": lambda m: m._push(m._top()),
    b"N": lambda m: m._push(None),
    b"\x88": lambda m: m._push(True),
    b"\x89": lambda m: m._push(False),
    b"I": Machine._integer_line,
    b"L": Machine._integer_line,
    b"J": lambda m: m._push(m._number("<i")),
    b"K": lambda m: m._push(m._number("<B")),
    b"M": lambda m: m._push(m._number("<H")),
    b"\x8a": lambda m: m._long(m._number("<B")),
    b"\x8b": lambda m: m._long(m._number("<i")),
    b"F": lambda m: m._push(float(m.source.line())),
    b"G": lambda m: m._push(m._number(">d")),
    b"S": Machine._quoted,
    b"T": lambda m: m._old_text("<i"),
    b"U": lambda m: m._old_text("<B"),
    b"V": lambda m: m._push(m.source.line().decode("raw-unicode-escape")),
    b"X": lambda m: m._text("<I"),
    b"\x8c": lambda m: m._text("<B"),
    b"\x8d": lambda m: m._text("<Q"),
    b"B": lambda m: m._push(m.source.exactly(m._number("<I"))),
    b"C": lambda m: m._push(m.source.exactly(m._number("<B"))),
    b"\x8e": lambda m: m._push(m.source.exactly(m._number("<Q"))),
    b"\x96": lambda m: m._push(m.source.exactly(m._number("<Q"))),
    b"]": lambda m: m._push([]),
    b"l": lambda m: m._push(m._since_mark()),
    b"a": lambda m: m._append([m._pop()]),
    b"e": lambda m: m._append(m._since_mark()),
    b")": lambda m: m._push(()),
    b"t": lambda m: m._push(tuple(m._since_mark())),
    b"\x85": lambda m: m._tuple(1),
    b"\x86": lambda m: m._tuple(2),
    b"\x87": lambda m: m._tuple(3),
    b"}": lambda m: m._push({}),
    b"d": lambda m: m._push(m._pairs(m._since_mark())),
    b"s": lambda m: m._set_items([m._pop(), m._pop()][::-1]),
    b"u": lambda m: m._set_items(m._since_mark()),
    b"\x8f": lambda m: m._push(set()),
    b"\x90": Machine._add_items,
    b"\x91": lambda m: m._push(frozenset(map(m._key, m._since_mark()))),
    b"c": lambda m: m._push(m._name_lines()),
    b"\x93": Machine._stack_name,
    b"R": Machine._reduce,
    b"\x81": Machine._reduce,
    b"\x92": Machine._new_keywords,
    b"o": Machine._object,
    b"i": Machine._instance,
    b"b": Machine._build,
    b"Q": Machine._persist,
    b"\x80": Machine._protocol,
    b"\x95": Machine._frame,
    b"p": lambda m: m._store(int(m.source.line())),
    b"q": lambda m: m._store(m._number("<B")),
    b"r": lambda m: m._store(m._number("<I")),
    b"\x94": lambda m: m._store(len(m._memo)),
    b"g": lambda m: m._recall(int(m.source.line())),
    b"h": lambda m: m._recall(m._number("<B")),
    b"j": lambda m: m._recall(m._number("<I")),
}
