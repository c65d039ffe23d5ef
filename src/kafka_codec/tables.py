"""The message tables (messages/*.msg) as Python objects. README.md describes the format."""
import re
from dataclasses import dataclass, field
from pathlib import Path

VERSION_LAST = 0x7FFF
PRIMITIVES = {"bool", "int8", "int16", "uint16", "int32", "int64", "uuid", "string", "bytes", "records"}


class TableError(Exception):
    pass


@dataclass(frozen=True)
class Versions:
    """A closed range; empty when first > last."""
    first: int
    last: int

    def __and__(self, other):
        return Versions(max(self.first, other.first), min(self.last, other.last))

    def __bool__(self):
        return self.first <= self.last

    def __contains__(self, version):
        return self.first <= version <= self.last


NO_VERSION = Versions(1, 0)


def parse_versions(text):
    if text == "none":
        return NO_VERSION
    m = re.fullmatch(r"(\d+)(\+|-(\d+))?", text)
    if not m:
        raise TableError(f"{text} is not a range of versions (3, 3-5, 3+, none)")
    first = int(m[1])
    if not m[2]:
        return Versions(first, first)
    return Versions(first, VERSION_LAST if m[2] == "+" else int(m[3]))


@dataclass
class Field:
    line: int
    name: str
    type: str  # as in the table: int32, []string, Name, []Name
    versions: Versions
    null: Versions = NO_VERSION
    tag: int | None = None
    default: str = ""
    inflexible: bool = False
    struct: "Struct | None" = None  # what type names

    @property
    def is_array(self):
        return self.type.startswith("[]")

    @property
    def element(self):
        return self.type.removeprefix("[]")


@dataclass
class Struct:
    line: int
    name: str
    versions: Versions
    fields: list = field(default_factory=list)


@dataclass
class Message:
    path: Path
    line: int
    kind: str  # request, response, header
    name: str
    versions: Versions
    flexible: Versions
    unstable: int | None = None  # this version and later ones are not served
    refused: Versions = NO_VERSION  # decoded only to be refused
    root: Struct = None
    structs: dict = field(default_factory=dict)  # by name, inner ones before those that use them

    @property
    def coded(self):
        """The versions that decode and encode exist for."""
        first = min(self.versions.first, self.refused.first) if self.refused else self.versions.first
        return Versions(first, self.versions.last)


@dataclass
class Api:
    key: int
    name: str
    request: Message
    response: Message


def options(words):
    """(name, value) pairs; `inflexible` has no value."""
    words = list(words)
    while words:
        name = words.pop(0)
        yield name, None if name == "inflexible" else words.pop(0)


def parse_field(number, words):
    if len(words) < 3:
        raise TableError("a field needs a name, a type and versions")
    f = Field(number, words[0], words[1], parse_versions(words[2]))
    for name, value in options(words[3:]):
        if name == "null":
            f.null = parse_versions(value)
        elif name == "tag":
            f.tag = int(value)
        elif name == "default":
            f.default = value
        elif name == "inflexible":
            f.inflexible = True
        else:
            raise TableError(f"{name} is not an option of a field")
    return f


def parse_message(path, number, kind, name, words):
    m = Message(path, number, kind, name, parse_versions(words[0]), NO_VERSION)
    for option, value in options(words[1:]):
        if option == "flexible":
            m.flexible = parse_versions(value)
        elif option == "unstable":
            m.unstable = int(value)
        elif option == "refused":
            m.refused = parse_versions(value)
        else:
            raise TableError(f"{option} is not an option of a message")
    m.root = Struct(number, name, m.coded)
    return m


class FileParser:
    def __init__(self, path):
        self.path = path
        self.api = None
        self.messages = []
        self.stack = []  # open structs, outermost first

    def message_line(self, number, words):
        if words[0] == "api":
            self.api = (int(words[1]), words[2])
            return
        if words[0] in ("request", "response"):
            name = self.api[1] + words[0].capitalize()
            m = parse_message(self.path, number, words[0], name, words[1:])
        elif words[0] == "header":
            m = parse_message(self.path, number, "header", words[1], words[2:])
        else:
            raise TableError(f"{words[0]} is not api, request, response or header")
        self.messages.append(m)
        self.stack = [m.root]

    def indented_line(self, number, depth, words):
        message = self.messages[-1]
        if depth > len(self.stack):
            raise TableError("indented deeper than its struct")
        del self.stack[depth:]
        if words[0] == "struct":
            s = Struct(number, words[1], parse_versions(words[2]))
            self.add_struct(message, s)
            self.stack.append(s)
            return
        f = parse_field(number, words)
        self.stack[-1].fields.append(f)
        if f.element not in PRIMITIVES:
            f.struct = message.structs.get(f.element)
            if f.struct is None:
                f.struct = Struct(number, f.element, f.versions)
                self.add_struct(message, f.struct)
            self.stack.append(f.struct)

    @staticmethod
    def add_struct(message, s):
        if s.name in message.structs:
            raise TableError(f"struct {s.name} appears twice")
        message.structs[s.name] = s

    def parse(self):
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            words = line.split()
            indent = len(line) - len(line.lstrip(" "))
            try:
                if not words or words[0].startswith("#"):
                    continue
                if indent % 2:
                    raise TableError("indentation is two spaces a level")
                if indent == 0:
                    self.message_line(number, words)
                else:
                    self.indented_line(number, indent // 2, words)
            except (TableError, ValueError, IndexError) as e:
                raise TableError(f"{self.path}:{number}: {e}") from e
        for m in self.messages:
            m.structs = inner_first(m.root)
        return self


def inner_first(root):
    found = {}

    def visit(s):
        for f in s.fields:
            if f.struct and f.struct.name not in found:
                visit(f.struct)
        found[s.name] = s

    visit(root)
    return found


def load(paths):
    """(apis sorted by key, headers)"""
    apis, headers = [], []
    for path in map(Path, paths):
        parsed = FileParser(path).parse()
        by_kind = {m.kind: m for m in parsed.messages}
        if parsed.api:
            apis.append(Api(*parsed.api, by_kind["request"], by_kind["response"]))
        else:
            headers += parsed.messages
    return sorted(apis, key=lambda a: a.key), headers


def snake(name):
    """TimeoutMs -> timeout_ms, LastKnownElr -> last_known_elr"""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def struct_name(message, s):
    """kafka_ + message, + struct for inner ones, without the message's or API's name in front of it again."""
    name = "kafka_" + snake(message.name)
    if s is message.root:
        return name
    api = message.name.removesuffix("Request").removesuffix("Response")
    for prefix in (message.name, api):
        rest = s.name.removeprefix(prefix)
        if rest != s.name and rest[:1].isupper():
            return name + "_" + snake(rest)
    return name + "_" + snake(s.name)
