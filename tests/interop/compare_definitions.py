#!/usr/bin/python3
"""Our message tables against Kafka's own definitions, field by field; one TAP case a message.

    compare_definitions.py [DIR]    the folder of Kafka's JSON files; without it the peers folder fetches them
"""
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src" / "kafka_codec"))
sys.dont_write_bytecode = True
import tables  # noqa: E402

# Stated on purpose: what we leave out of Kafka's ranges, and why.
DECODED_ONLY_TO_BE_REFUSED = {"ProduceRequest": "0-2", "ProduceResponse": "0-2"}  # KAFKA-18659
UNSTABLE_RESPONSES = {"InitProducerIdResponse"}  # marked only in the request


def kafka_json(path):
    text = re.sub(r"^\s*//.*$", "", path.read_text(encoding="utf-8"), flags=re.M)
    return json.loads(re.sub(r'//[^"\n]*$', "", text, flags=re.M))


def same_range(ours, theirs):
    return ours == (tables.parse_versions(theirs) if theirs is not None else tables.NO_VERSION)


def default_of(type_, text):
    """Default values in one form: an int, a bool, None for null, or a text."""
    text = str(text)
    if type_.startswith("[]") or type_[0].isupper() or type_ in ("string", "bytes", "records"):
        return None if text == "null" else text
    if type_ == "bool":
        return text.lower() == "true"
    return int(text, 0) if text and type_ != "uuid" else 0


def compare_field(ours, theirs, where, problems):
    def check(what, good, detail):
        if not good:
            problems.append(f"{where}.{theirs['name']}: {what} {detail}")

    check("name", ours.name == theirs["name"], f"is {ours.name}")
    check("type", ours.type == theirs["type"], f"{ours.type}, not {theirs['type']}")
    check("versions", same_range(ours.versions, theirs["versions"]), f"{ours.versions}, not {theirs['versions']}")
    check("null", same_range(ours.null, theirs.get("nullableVersions")), f"{ours.null}, not {theirs.get('nullableVersions')}")
    check("tag", ours.tag == theirs.get("tag"), f"{ours.tag}, not {theirs.get('tag')}")
    if "tag" in theirs:
        check("tag", theirs["taggedVersions"] == theirs["versions"], "is not in all versions, which our tables cannot say")
    mine, wanted = default_of(ours.type, ours.default), default_of(ours.type, theirs.get("default", ""))
    check("default", mine == wanted, f"{mine!r}, not {wanted!r}")
    check("flexibility", ours.inflexible == (theirs.get("flexibleVersions") == "none"), str(ours.inflexible))
    if "fields" in theirs:
        compare_fields(ours.struct.fields, theirs["fields"], f"{where}.{theirs['name']}", problems)


def compare_fields(ours, theirs, where, problems):
    if len(ours) != len(theirs):
        problems.append(f"{where} has {len(ours)} fields, not {len(theirs)}: "
                        f"{sorted({f.name for f in ours} ^ {f['name'] for f in theirs})}")
    for mine, wanted in zip(ours, theirs):
        compare_field(mine, wanted, where, problems)


def compare(message, theirs):
    problems = []
    name = message.name
    if not same_range(message.versions, theirs["validVersions"]):
        problems.append(f"{name}: versions {message.versions}, not {theirs['validVersions']}")
    if not same_range(message.flexible, theirs["flexibleVersions"]):
        problems.append(f"{name}: flexible {message.flexible}, not {theirs['flexibleVersions']}")
    if not same_range(message.refused, DECODED_ONLY_TO_BE_REFUSED.get(name)):
        problems.append(f"{name}: refuses {message.refused}")
    unstable = message.versions.last if theirs.get("latestVersionUnstable") or name in UNSTABLE_RESPONSES else None
    if message.unstable != unstable:
        problems.append(f"{name}: unstable {message.unstable}, not {unstable}")
    for common in theirs.get("commonStructs", []):
        mine = message.structs.get(common["name"])
        if mine is None:
            problems.append(f"{name}: struct {common['name']} is missing")
        else:
            compare_fields(mine.fields, common["fields"], f"{name}.{common['name']}", problems)
    compare_fields(message.root.fields, theirs["fields"], name, problems)
    return problems


def load_theirs(folder):
    found = {}
    for path in sorted(folder.glob("*.json")):
        definition = kafka_json(path)
        if definition["type"] in ("request", "response", "header"):
            found[definition["name"]] = definition
    return found


def definitions_folder():
    if len(sys.argv) > 1:
        return Path(sys.argv[1])
    import fetched
    return Path(fetched.quiet([fetched.peer_script("kafka.sh", "mvn", "jar"), "definitions"]).split()[-1])


def main():
    theirs = load_theirs(definitions_folder())
    apis, headers = tables.load(sorted((ROOT / "src" / "kafka_codec" / "messages").glob("*.msg")))
    messages = headers + [m for a in apis for m in (a.request, a.response)]
    keys = {m.name: a.key for a in apis for m in (a.request, a.response)}
    print(f"1..{len(messages)}")
    failed = 0
    for number, message in enumerate(messages, 1):
        definition = theirs.get(message.name)
        problems = compare(message, definition) if definition else [f"Kafka has no {message.name}"]
        if definition and definition.get("apiKey") != keys.get(message.name):
            problems.append(f"{message.name}: key {keys.get(message.name)}, not {definition.get('apiKey')}")
        failed += bool(problems)
        print(f"{'not ok' if problems else 'ok'} {number} - {message.name} equals Kafka's definition")
        for problem in problems:
            print(f"# {problem}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
