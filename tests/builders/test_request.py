"""What is asked of a build is checked before anything is opened."""

import pytest

from builders import BuildRequest


def test_options_of_storage_are_read_as_they_are_written_on_a_command_line() -> None:
    request = BuildRequest(fasta="g.fa", storage_options={"anon": "true", "endpoint_url": "http://host:9000"})
    assert request.storage_options == {"anon": True, "endpoint_url": "http://host:9000"}
    assert BuildRequest(fasta="g.fa", fasta_options={}).fasta_options is None


def test_no_representation_shows_a_secret() -> None:
    shown = repr(BuildRequest(fasta="g.fa", storage_options={"secret": "hush"}, fasta_options={"token": "hush"}))
    assert "hush" not in shown


def test_a_feature_set_that_is_named_twice_is_built_once() -> None:
    assert BuildRequest(fasta="g.fa", outputs=("b", "a", "b")).outputs == ("b", "a")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({}, "fasta=FILE", id="an extractor without a genome"),
        pytest.param({"fasta": "g.fa", "workers": 0}, "at least 1 worker", id="no worker"),
        pytest.param({"fasta": "g.fa", "contigs": ()}, "`contigs=` is an empty list", id="no contig"),
        pytest.param({"fasta": "g.fa", "workers": 2, "scheduler": "tcp://x:1"}, "not both", id="two clusters"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BuildRequest(**fields)  # type: ignore[arg-type]  # the mistakes under test
