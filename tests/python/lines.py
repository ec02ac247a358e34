"""Holds lines of a gateway's log, and its metrics in OpenMetrics, against what other people's packages make of them.

`lines.py log SCHEMA FILE` validates each line of FILE that is JSON; `lines.py openmetrics FILE` parses FILE.
"""

import collections
import json
import sys

import jsonschema
from prometheus_client.openmetrics import parser


def log(schema, file):
    with open(schema, encoding="utf-8") as text:
        schema = json.load(text)
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    validator = kind(schema, format_checker=kind.FORMAT_CHECKER)
    counts = collections.Counter()
    other = 0
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("{"):
                other += 1
                continue
            value = json.loads(line)
            problems = [f"{problem.json_path}: {problem.message}" for problem in validator.iter_errors(value)]
            if problems:
                sys.exit(f"{problems}\n{line}")
            counts[value.get("kind") if value.get("event") == "security" else value.get("event", "")] += 1
    print(json.dumps({"counts": counts, "other": other}))


def openmetrics(file):
    with open(file, encoding="utf-8") as text:
        families = list(parser.text_string_to_metric_families(text.read()))
    exemplars = [
        {"name": sample.name, "labels": sample.labels, "trace": sample.exemplar.labels["trace_id"], "value": sample.exemplar.value}
        for family in families
        for sample in family.samples
        if sample.exemplar
    ]
    print(json.dumps({"families": sorted(family.name for family in families), "exemplars": exemplars}))


if __name__ == "__main__":
    {"log": log, "openmetrics": openmetrics}[sys.argv[1]](*sys.argv[2:])
