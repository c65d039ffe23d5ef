#!/usr/bin/python3
"""Writes the C of Kafka's messages from our tables: messages.h, messages.c and messages_fields.c.

    generate.py OUTPUT_DIR messages/*.msg

README.md describes the table format and the names. The output is never edited nor committed, except
a golden copy of one small message (tests/golden/kafka_codec), so that a change here is seen as a diff.
"""
import sys
from pathlib import Path

import tables
from tables import Versions, snake, struct_name

INTEGERS = {  # type: (C type, reader, writer, wire bytes)
    "bool": ("bool", "read_bool", "kafka_put_u8", 1),
    "int8": ("int8_t", "read_i8", "kafka_put_u8", 1),
    "int16": ("int16_t", "read_i16", "kafka_put_u16", 2),
    "uint16": ("uint16_t", "read_u16", "kafka_put_u16", 2),
    "int32": ("int32_t", "read_i32", "kafka_put_u32", 4),
    "int64": ("int64_t", "read_i64", "kafka_put_u64", 8),
}
CASTS = {"kafka_put_u8": "uint8_t", "kafka_put_u16": "uint16_t", "kafka_put_u32": "uint32_t", "kafka_put_u64": "uint64_t"}
EXTREMES = {-(2**31): "INT32_MIN", 2**31 - 1: "INT32_MAX", -(2**63): "INT64_MIN", 2**63 - 1: "INT64_MAX"}


class Text:
    """Lines of C, indented."""

    def __init__(self):
        self.lines = []
        self.depth = 0

    def __call__(self, line=""):
        self.lines.append("    " * self.depth + line if line else "")

    def open(self, line):
        self(line)
        self.depth += 1

    def close(self, line="}"):
        self.depth -= 1
        self(line)

    def source(self, message, line):
        """What follows comes from this line of the table."""
        self.lines.append(f'#line {line} "{message.path}"')

    def write(self, path):
        path.write_text("\n".join(self.lines) + "\n", encoding="utf-8")


def within(versions, reach):
    """C condition for `version` in versions, when it is known to be in reach; "true" or "false" if constant."""
    inside = versions & reach
    if not inside:
        return "false"
    terms = []
    if inside.first > reach.first:
        terms.append(f"version >= {inside.first}")
    if inside.last < reach.last:
        terms.append(f"version <= {inside.last}")
    return " && ".join(terms) or "true"


def member(f):
    return snake(f.name)


class StructCode:
    """One struct of one message: its declaration, default, decoder and encoder."""

    def __init__(self, message, s, reach):
        self.message, self.struct, self.reach = message, s, reach
        self.c_name = struct_name(message, s)
        self.short = self.c_name.removeprefix("kafka_")
        self.tagged = [f for f in s.fields if f.tag is not None]
        self.plain = [f for f in s.fields if f.tag is None]

    # -- types

    def c_type(self, f):
        t = f.element
        if f.struct:
            return "struct " + struct_name(self.message, f.struct)
        if t in INTEGERS:
            return INTEGERS[t][0]
        if t == "uuid":
            return "struct uuid"
        if t == "records" and self.message.kind == "response":
            return "struct kafka_records"
        return "struct slice"

    def declare(self, out):
        out.open(f"struct {self.c_name} {{")
        for f in self.struct.fields:
            out.source(self.message, f.line)
            name = member(f)
            if f.is_array:
                out(f"uint32_t n_{name};")
                if f.null:
                    out(f"bool {name}_is_null;")
                out(f"{self.c_type(f)} *{name};")
            elif f.struct and f.null:
                out(f"{self.c_type(f)} *{name};")
            else:
                out(f"{self.c_type(f)} {name};")
        if not self.struct.fields:
            out("char nothing;")
        out.close("};")
        out(f"extern const struct {self.c_name} {self.c_name}_default;")

    # -- defaults

    def initialiser(self, f, codes):
        """C initialiser of a field whose default is not all zero bytes, else None."""
        if f.is_array:
            return None
        if f.struct:
            if f.null:
                return None
            inner = codes[f.struct.name].initialisers(codes)
            return "{" + ", ".join(inner) + "}" if inner else None
        if f.element in ("string", "bytes"):
            return '{.data = (const uint8_t *)""}' if f.null and f.default != "null" else None
        if f.element == "bool":
            return "true" if f.default == "true" else None
        if f.element in INTEGERS and f.default:
            value = int(f.default, 0)
            return EXTREMES.get(value, str(value)) if value else None
        return None

    def initialisers(self, codes):
        found = []
        for f in self.struct.fields:
            if f.is_array and f.default == "null":
                found.append(f".{member(f)}_is_null = true")
            value = self.initialiser(f, codes)
            if value:
                found.append(f".{member(f)} = {value}")
        return found

    def define_default(self, out, codes):
        out.source(self.message, self.struct.line)
        values = self.initialisers(codes)
        tail = " = {" + ", ".join(values) + "}" if values else ""
        out(f"const struct {self.c_name} {self.c_name}_default{tail};")

    def is_default(self, f, codes, at):
        """C condition: the field still has its default, so a tag is left out."""
        path = f"{at}{member(f)}"
        if f.is_array:
            return f"{path}_is_null" if f.default == "null" else f"{at}n_{member(f)} == 0" + (
                f" && !{path}_is_null" if f.null else "")
        if f.struct:
            inner = codes[f.struct.name]
            return " && ".join(inner.is_default(g, codes, path + ".") for g in f.struct.fields)
        if f.element == "uuid":
            return f"memcmp(&{path}, &(struct uuid){{{{0}}}}, sizeof {path}) == 0"
        if f.element in INTEGERS:
            return f"{path} == " + (self.initialiser(f, codes) or ("false" if f.element == "bool" else "0"))
        if f.default == "null":
            return f"!{path}.data"
        return f"({path}.data && {path}.len == 0)" if f.null else f"{path}.len == 0"

    # -- sizes

    def wire_bytes_min(self, version, codes):
        flexible = version in self.message.flexible
        total = 1 if flexible else 0
        for f in self.plain:
            if version in f.versions:
                total += self.field_bytes_min(f, version, flexible and not f.inflexible, codes)
        return total

    def field_bytes_min(self, f, version, flexible, codes):
        if f.is_array:
            return 1 if flexible else 4
        return self.element_bytes_min(f, version, flexible, codes)

    @staticmethod
    def element_bytes_min(f, version, flexible, codes):
        if f.struct:
            return 1 if f.null and not f.is_array else codes[f.struct.name].wire_bytes_min(version, codes)
        if f.element in INTEGERS:
            return INTEGERS[f.element][3]
        if f.element == "uuid":
            return 16
        return 1 if flexible else (2 if f.element == "string" else 4)

    def array_element_min(self, f, codes):
        versions = f.versions & self.reach
        sizes = [self.element_bytes_min(f, v, v in self.message.flexible and not f.inflexible, codes)
                 for v in range(versions.first, versions.last + 1)]
        return max(1, min(sizes))

    # -- conditions

    def flexible(self, f=None):
        if f and f.inflexible:
            return "false"
        return within(self.message.flexible, self.reach)

    def nullable(self, f):
        return within(f.null & f.versions, f.versions & self.reach)

    def guarded(self, out, condition, body):
        """Writes body under `if (condition)`, which is left out when it is always true."""
        if condition == "false":
            return
        if condition == "true":
            body()
            return
        out.open(f"if ({condition}) {{")
        body()
        out.close()

    # -- decoding

    def decode_one(self, out, f, target):
        t = f.element
        flexible, nullable = self.flexible(f), "false" if f.is_array else self.nullable(f)
        if f.struct:
            out(f"decode_{struct_name(self.message, f.struct)[6:]}(in, version, &{target});")
        elif t in INTEGERS:
            out(f"{target} = {INTEGERS[t][1]}(in);")
        elif t == "uuid":
            out(f"{target} = kafka_read_uuid(in);")
        elif t == "string":
            out(f"{target} = kafka_read_string(in, {flexible}, {nullable});")
        elif t == "records" and self.message.kind == "response":
            out(f"{target} = kafka_read_records(in, {flexible}, {nullable});")
        else:
            out(f"{target} = kafka_read_bytes(in, {flexible}, {nullable});")

    def decode_field(self, out, f, codes):
        name = member(f)
        if f.is_array:
            null = self.nullable(f)
            null_arg = {"true": f"&m->{name}_is_null", "false": "NULL"}.get(null, f"{null} ? &m->{name}_is_null : NULL")
            out(f"m->n_{name} = kafka_read_count(in, {self.flexible(f)}, {self.array_element_min(f, codes)}, {null_arg});")
            out(f"m->{name} = read_alloc(in, m->n_{name}, sizeof *m->{name});")
            out.open(f"for (uint32_t i = 0; reader_ok(in) && i < m->n_{name}; i++)")
            self.decode_one(out, f, f"m->{name}[i]")
            out.depth -= 1
        elif f.struct and f.null:
            out(f"m->{name} = read_i8(in) < 0 ? NULL : read_alloc(in, 1, sizeof *m->{name});")
            out.open(f"if (m->{name})")
            self.decode_one(out, f, f"*m->{name}".replace("&*", ""))
            out.depth -= 1
        else:
            self.decode_one(out, f, f"m->{name}")

    def decode_tags(self, out, codes):
        if not self.tagged:
            out("kafka_skip_tags(in);")
            return
        out("struct kafka_tags tags = {0};")
        out.open("while (kafka_next_tag(in, &tags)) {")
        for i, f in enumerate(self.tagged):
            known = within(f.versions, self.reach)
            condition = f"tags.tag == {f.tag}" + ("" if known == "true" else f" && {known}")
            out.open(("} else " if i else "") + f"if ({condition}) {{")
            out.source(self.message, f.line)
            out("tags.is_known = true;")
            self.decode_field(out, f, codes)
            out.depth -= 1
        out("}")
        out.close()

    def define_decode(self, out, codes):
        out(f"static void decode_{self.short}(struct reader *in, int16_t version, void *ret)")
        out.open("{")
        out(f"struct {self.c_name} *m = ret;")
        out(f"*m = {self.c_name}_default;")
        for f in self.plain:
            out.source(self.message, f.line)
            self.guarded(out, within(f.versions, self.reach), lambda f=f: self.decode_field(out, f, codes))
        self.guarded(out, self.flexible(), lambda: self.decode_tags(out, codes))
        out.close()
        out()

    # -- encoding

    def encode_one(self, out, f, source):
        t = f.element
        flexible, nullable = self.flexible(f), "false" if f.is_array else self.nullable(f)
        if f.struct:
            out(f"encode_{struct_name(self.message, f.struct)[6:]}(out, version, &{source});")
        elif f.name == "ErrorCode" and self.message.kind == "response":
            out(f"kafka_put_error_code(out, {source});")
        elif t in INTEGERS:
            writer = INTEGERS[t][2]
            out(f"{writer}(out, ({CASTS[writer]}){source});")
        elif t == "uuid":
            out(f"kafka_put_uuid(out, &{source});")
        elif t == "string":
            out(f"kafka_put_string(out, {source}, {flexible}, {nullable});")
        elif t == "records" and self.message.kind == "response":
            out(f"kafka_put_records(out, &{source}, {flexible}, {nullable});")
        elif t == "records":
            out(f"kafka_put_record_bytes(out, {source}, {flexible}, {nullable});")
        else:
            out(f"kafka_put_bytes(out, {source}, {flexible}, {nullable});")

    def encode_field(self, out, f):
        name = member(f)
        if f.is_array:
            null = self.nullable(f)
            is_null = {"true": f"m->{name}_is_null", "false": "false"}.get(null, f"{null} && m->{name}_is_null")
            out(f"kafka_put_count(out, m->n_{name}, {is_null}, {self.flexible(f)});")
            out.open(f"for (uint32_t i = 0; i < m->n_{name}; i++)")
            self.encode_one(out, f, f"m->{name}[i]")
            out.depth -= 1
        elif f.struct and f.null:
            out(f"kafka_put_u8(out, m->{name} ? 1 : UINT8_MAX);")
            out.open(f"if (m->{name})")
            self.encode_one(out, f, f"(*m->{name})")
            out.depth -= 1
        else:
            self.encode_one(out, f, f"m->{name}")

    def define_tag_writers(self, out):
        for f in self.tagged:
            out(f"static void put_{self.short}_{member(f)}(struct kafka_out *out, int16_t version, const void *owner)")
            out.open("{")
            out(f"const struct {self.c_name} *m = owner;")
            out.source(self.message, f.line)
            self.encode_field(out, f)
            out.close()
            out()

    def encode_tags(self, out, codes):
        if not self.tagged:
            out("kafka_put_uvarint(out, 0);")
            return
        for f in self.tagged:
            out.source(self.message, f.line)
            known = within(f.versions, self.reach)
            default = self.is_default(f, codes, "m->")
            out(f"bool has_{member(f)} = " + (f"!({default});" if known == "true" else f"{known} && !({default});"))
        out("kafka_put_uvarint(out, " + " + ".join(f"(uint32_t)has_{member(f)}" for f in self.tagged) + ");")
        for f in sorted(self.tagged, key=lambda f: f.tag):
            out.open(f"if (has_{member(f)})")
            out(f"kafka_put_tagged(out, {f.tag}, put_{self.short}_{member(f)}, version, m);")
            out.depth -= 1

    def define_encode(self, out, codes):
        self.define_tag_writers(out)
        out(f"static void encode_{self.short}(struct kafka_out *out, int16_t version, const void *msg)")
        out.open("{")
        if self.struct.fields:
            out(f"const struct {self.c_name} *m = msg;")
        for f in self.plain:
            out.source(self.message, f.line)
            self.guarded(out, within(f.versions, self.reach), lambda f=f: self.encode_field(out, f))
        self.guarded(out, self.flexible(), lambda: self.encode_tags(out, codes))
        out.close()
        out()


def reaches(message):
    """The versions in which each struct can appear."""
    found = {message.root.name: message.coded}
    for s in reversed(message.structs.values()):
        for f in s.fields:
            if f.struct:
                here = f.versions & found[s.name]
                known = found.get(f.struct.name, here)
                found[f.struct.name] = Versions(min(known.first, here.first), max(known.last, here.last))
    return found


def struct_codes(message):
    reach = reaches(message)
    return {name: StructCode(message, s, reach[name]) for name, s in message.structs.items()}


def served(message):
    last = message.versions.last if message.unstable is None else message.unstable - 1
    return Versions(message.versions.first, last)


def message_symbol(message):
    return f"kafka_{snake(message.name)}_message"


def messages_h(apis, messages):
    out = Text()
    out("/* Generated from messages/ by generate.py: Kafka's messages as structs. Do not edit. */")
    out("#ifndef SLUICE_KAFKA_CODEC_MESSAGES_H")
    out("#define SLUICE_KAFKA_CODEC_MESSAGES_H")
    out()
    out('#include "kafka_codec/codec.h"')
    out()
    out.open("enum kafka_api_key {")
    for api in apis:
        out(f"KAFKA_API_{snake(api.name).upper()} = {api.key},")
    out.close("};")
    for message in messages:
        for code in struct_codes(message).values():
            out()
            code.declare(out)
    out()
    for message in messages:
        out(f"extern const struct kafka_message {message_symbol(message)};")
    out()
    out("#endif")
    return out


def define_message(out, message):
    codes = struct_codes(message)
    for code in codes.values():
        code.define_default(out, codes)
    out()
    for code in codes.values():
        code.define_decode(out, codes)
        code.define_encode(out, codes)
    name = snake(message.name)
    versions, flexible = message.coded, message.flexible
    out.source(message, message.line)
    out.open(f"const struct kafka_message {message_symbol(message)} = {{")
    out(f'.name = "{message.name}",')
    out(f".size = sizeof(struct kafka_{name}),")
    out(f".first_version = {versions.first},")
    out(f".last_version = {versions.last},")
    out(f".first_flexible = {flexible.first if flexible else 'INT16_MAX'},")
    out(f".defaults = &kafka_{name}_default,")
    out(f".decode = decode_{name},")
    out(f".encode = encode_{name},")
    out.close("};")
    out()


def define_apis(out, apis):
    out.open("const struct kafka_api kafka_apis[] = {")
    for api in apis:
        versions = served(api.request)
        out(f'{{{api.key}, "{api.name}", {versions.first}, {versions.last}, '
            f"&{message_symbol(api.request)}, &{message_symbol(api.response)}}},")
    out.close("};")
    out(f"const size_t kafka_n_apis = {len(apis)};")
    out()
    out("const struct kafka_api *kafka_api(int16_t key)")
    out.open("{")
    out("switch (key) {")
    for i, api in enumerate(apis):
        out(f"case {api.key}:")
        out(f"    return &kafka_apis[{i}];")
    out("default:")
    out("    return NULL;")
    out("}")
    out.close()


def messages_c(apis, messages):
    out = Text()
    out("/* Generated from messages/ by generate.py. Do not edit. */")
    out('#include "kafka_codec/messages.h"')
    out()
    for message in messages:
        define_message(out, message)
    define_apis(out, apis)
    return out


def field_row(message, code, f):
    kind = f.element.upper() if f.element in tables.PRIMITIVES else "STRUCT"
    if kind == "RECORDS" and message.kind != "response":
        kind = "RECORD_BYTES"
    name, c = member(f), f"struct {code.c_name}"
    values = [f'.name = "{name}"', f".type = KAFKA_FIELD_{kind}", f".offset = offsetof({c}, {name})",
              f".first = {f.versions.first}", f".last = {f.versions.last}"]
    if f.is_array:
        values += [".is_array = true", f".n_offset = offsetof({c}, n_{name})"]
    if f.null:
        values += [f".null_first = {f.null.first}", f".null_last = {f.null.last}"]
        if f.is_array:
            values.append(f".is_null_offset = offsetof({c}, {name}_is_null)")
    else:
        values += [".null_first = 1", ".null_last = 0"]
    if f.tag is not None:
        values.append(".is_tagged = true")
    if f.struct:
        values.append(f".of = &{struct_name(message, f.struct)}_info")
    return "{" + ", ".join(values) + "},"


def fields_c(messages):
    out = Text()
    out("/* Generated from messages/ by generate.py: the fields as data, for tests. Do not edit. */")
    out('#include "kafka_codec/fields.h"')
    for message in messages:
        for code in struct_codes(message).values():
            out()
            rows = [field_row(message, code, f) for f in code.struct.fields]
            if rows:
                out.open(f"static const struct kafka_field {code.short}_fields[] = {{")
                for row in rows:
                    out(row)
                out.close("};")
            out(f"static const struct kafka_struct_info {code.c_name}_info = {{sizeof(struct {code.c_name}), "
                f"{code.short + '_fields' if rows else 'NULL'}, {len(rows)}, &{code.c_name}_default}};")
    out()
    out.open("const struct kafka_message_info kafka_message_infos[] = {")
    for message in messages:
        out(f"{{&{message_symbol(message)}, &{struct_name(message, message.root)}_info}},")
    out.close("};")
    out(f"const size_t kafka_n_message_infos = {len(messages)};")
    return out


def main(output, paths):
    apis, headers = tables.load(paths)
    messages = headers + [m for a in apis for m in (a.request, a.response)]
    output = Path(output)
    messages_h(apis, messages).write(output / "messages.h")
    messages_c(apis, messages).write(output / "messages.c")
    fields_c(messages).write(output / "messages_fields.c")


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except tables.TableError as e:
        sys.exit(str(e))
