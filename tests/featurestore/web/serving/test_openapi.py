"""The OpenAPI document is whole, and the server does what it says, also to requests that nobody would send."""

from collections.abc import Iterator
from typing import Any

import pytest
from random_requests import ask_at_random
from schemathesis import GenerationMode
from served import client_of
from starlette.testclient import TestClient

from catalog import Grid
from featurestore.testing.fixtures import built_store

GENES = "gene_id\tsymbol\tcontig\tstrand\ttss\nG1\tMYC\tchr1\t+\t50\n"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "genes.tsv").write_text(GENES)
    store = built_store(folder / "store", {"chr1": 200}, Grid(bin_size=8, offsets=(0, 4)), name="half")
    with client_of(store, genes=folder / "genes.tsv") as client:
        yield client


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_every_path_says_what_it_takes_and_gives_and_which_problems(document: dict[str, Any]) -> None:
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["description"].endswith(".")
        assert {"200", "401", "421", "422", "500", "503"} <= operation["responses"].keys()
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            assert "description" in parameter or "description" in schema or parameter["in"] == "path", parameter
        for status, reply in operation["responses"].items():
            wanted = {"application/problem+json"} if int(status) >= 400 else set(reply["content"])
            assert set(reply["content"]) == wanted
    window = document["paths"]["/v1/window"]["get"]["responses"]["200"]["content"]
    assert set(window) == {
        "application/json",
        "application/vnd.apache.arrow.stream",
        "application/x-npy",
        "text/tab-separated-values",
    }


def test_every_reference_of_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    def references(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                yield part["$ref"]
            for value in part.values():
                yield from references(value)
        elif isinstance(part, list):
            for value in part:
                yield from references(value)

    found = set(references(document))
    assert "#/components/schemas/Problem" in found
    for reference in found:
        target: Any = document
        for name in reference.removeprefix("#/").split("/"):
            target = target[name]


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: f"{mode.value} requests")
def test_random_requests_are_answered_as_the_document_says(client: TestClient, mode: GenerationMode) -> None:
    answered = ask_at_random(client, mode)
    assert answered[200 if mode is GenerationMode.POSITIVE else 422] > 20
