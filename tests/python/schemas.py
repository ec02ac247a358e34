"""Holds what was asked against the schemas of an OpenAPI document, and that against what a gateway says.

It reads JSON: the `document`, and `cases`. Each has a `place` in the document and a `value`, or an `operation` and the
values of its `parameters`; whether the gateway `accepted` it, and whether the schema has to refuse what was refused (`strict`).
"""

import collections
import json
import sys
import urllib.parse

import jsonschema
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

NAME = "urn:the-document"


def at(pointer):
    return {"$ref": f"{NAME}#{urllib.parse.quote(pointer)}"}


def resolved(document, pointer):
    for step in pointer.split("/")[1:]:
        document = document[step.replace("~1", "/").replace("~0", "~")]
    return document


def parameters(document, operation):
    """Returns the schema of an object that has each parameter of path and query as a member."""
    listed = [(at, it) for at, it in enumerate(resolved(document, operation)["parameters"]) if "$ref" not in it]
    return {
        "properties": {it["name"]: at(f"{operation}/parameters/{position}/schema") for position, it in listed},
        "required": [it["name"] for _, it in listed if it.get("required")],
        "additionalProperties": False,
    }


def main():
    given = json.load(sys.stdin)
    document = given["document"]
    OpenAPIV31SpecValidator(document).validate()
    registry = Registry().with_resource(NAME, Resource(contents=document, specification=DRAFT202012))
    kind = jsonschema.Draft202012Validator
    validators = {}
    counts = collections.Counter()
    for case in given["cases"]:
        place = case.get("place") or case["operation"]
        if place not in validators:
            schema = at(place) if "place" in case else parameters(document, place)
            validators[place] = kind(schema, registry=registry, format_checker=kind.FORMAT_CHECKER)
        value = case["value"] if "place" in case else case["parameters"]
        problems = [f"{problem.json_path}: {problem.message}" for problem in validators[place].iter_errors(value)]
        if case["accepted"] and problems:
            sys.exit(f"the gateway takes what {place} refuses: {problems}\n{json.dumps(value)}")
        if case["strict"] and not problems:
            sys.exit(f"{place} takes what the gateway refuses: {case['told']}\n{json.dumps(value)}")
        counts[f"{place} {'accepted' if case['accepted'] else 'strict' if case['strict'] else 'refused'}"] += 1
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
