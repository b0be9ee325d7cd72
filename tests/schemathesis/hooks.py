"""What Schemathesis has to know of this API beyond its OpenAPI document: things that exist, so that not
every request ends at "there is no such thing", and what a refusal has to hold.

The plan, a JSON file named by TELEWARDEN_TEST_PLAN, has the ids of what exists by kind, values that mean
something by field, and the seed.
"""

import json
import os
import random

import schemathesis

with open(os.environ["TELEWARDEN_TEST_PLAN"], encoding="utf-8") as file:
    PLAN = json.load(file)
DICE = random.Random(PLAN["seed"])
# One in so many requests names what Schemathesis made up.
MADE_UP_ONE_IN = 4
# What a 503 may say: Telegram or a queue of ours, never a fault of ours.
UNAVAILABLE = {"TG_UNAVAILABLE", "OVERLOADED"}


def kind_of(operation):
    """Which of the plan's lists holds the ids of an operation's path."""
    parts = operation.path.removeprefix("/api/v1/").split("/")
    if operation.method.upper() == "DELETE" or parts[-1] == "data":
        return f"expendable {parts[0]}"
    return parts[0]


@schemathesis.hook
def before_call(context, case, kwargs):
    """Names something that exists in most of the requests that name something."""
    known = PLAN["ids"].get(kind_of(case.operation), [])
    names = list(case.path_parameters or {})
    if names and known and DICE.randrange(MADE_UP_ONE_IN):
        case.path_parameters[names[0]] = DICE.choice(known)
    if isinstance(case.body, dict):
        for field in case.body.keys() & PLAN["fields"].keys():
            if DICE.randrange(MADE_UP_ONE_IN):
                case.body[field] = DICE.choice(PLAN["fields"][field])
        # Whoever is named by a made-up address is not called.
        if kind_of(case.operation) == "webhooks":
            case.body["enabled"] = False


@schemathesis.check
def refusals_are_documented(ctx, response, case):
    """A refusal is a problem document with a code that the operation lists, under its own status."""
    codes = case.operation.definition.raw.get("x-codes")
    # A method that is not there has no codes.
    if response.status_code < 400 or response.status_code == 405 or codes is None:
        return
    problem = json.loads(response.content)
    code = problem["code"]
    assert code in codes, f"{code} is not among the codes of this operation: {codes}"
    assert problem["status"] == response.status_code, "the document tells another status"
    if response.status_code == 503:
        assert code in UNAVAILABLE, f"{code} is no reason for a 503"
    waits = problem.get("retry_after")
    header = response.headers.get("retry-after")
    told = header[0] if header else None
    assert (None if waits is None else str(waits)) == told, "Retry-After and retry_after differ"
