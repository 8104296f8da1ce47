"""Requests made from a server's own OpenAPI document, also such as nobody would send."""

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress

import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
_MOST_CHARACTERS = 1 << 14
"""Of a request: a server cuts longer ones off before they reach ours."""


def ask_at_random(
    client: TestClient,
    mode: GenerationMode,
    *,
    paths: Collection[str] = (),
    examples: int = 25,
    put: Mapping[str, str | None] | None = None,
) -> Counter[int]:
    """Ask for every path, or some, and check that each answer is as the document says; count them by status.

    `put` goes in the place of a query's own parameters; None takes one out.
    """
    answered: Counter[int] = Counter()
    for found in schemathesis.openapi.from_dict(client.get("/openapi.json").json()).get_all_operations():
        operation = found.ok()
        if paths and operation.path not in paths:
            continue
        if mode is GenerationMode.NEGATIVE and not operation.query.items and not operation.path_parameters.items:
            continue  # nothing that could be wrong

        @settings(
            max_examples=examples,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
        )
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case) -> None:
            sent = case.as_transport_kwargs(base_url="http://localhost")
            changed = {**(sent["params"] or {}), **(put or {})}
            sent["params"] = {name: value for name, value in changed.items() if value is not None}
            assume(len(str((sent["url"], sent["params"]))) < _MOST_CHARACTERS)
            reply = client.request(**{name: sent[name] for name in ("method", "url", "params")})
            answered[reply.status_code] += 1
            # RNAget wants 501 where a range ends before it starts.
            case.validate_response(reply, checks=CHECKS if reply.status_code == 501 else [not_a_server_error, *CHECKS])

        with suppress(Unsatisfiable):  # only a text of megabytes would be wrong there
            ask()
    return answered


def ask_a_model_at_random(client: TestClient, mode: GenerationMode, put: Mapping[str, str | None]) -> None:
    """Ask a model's routes, wrongly or rightly; `put` makes a query one that the run answers."""
    paths = ("/v1/model", "/v1/predict")
    answered = ask_at_random(client, mode, paths=paths, examples=60)
    if mode is GenerationMode.NEGATIVE:
        assert answered[422] > 20
        return
    answered = ask_at_random(client, mode, paths=paths, examples=60, put=put)
    assert answered[200] > 20
