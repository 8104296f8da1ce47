"""Who gets an answer: the host's name, the token, other origins; and what every reply carries."""

from pathlib import Path

import pytest
from served import client_of

from catalog import Grid
from featurestore.store import Store
from featurestore.testing.fixtures import built_store
from featurestore.web.serving.request import ServeRequest, named_places

PATH = "/v1/window?at=chr1:20&bins=3"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return built_store(tmp_path_factory.mktemp("guard") / "store", {"chr1": 80}, Grid(bin_size=8))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("Data.Lab.org", 200),
        ("evil.example", 421),
        ("evil.example:8000", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ],
)
def test_only_names_of_this_server_are_answered_so_no_page_can_rebind_its_own(
    store: Store, host: str, status: int
) -> None:
    with client_of(store, allowed_hosts=("data.lab.org",)) as client:
        reply = client.get(PATH, headers={"Host": host})
        assert reply.status_code == status
        if status == 421:
            assert "--allowed-hosts" in reply.json()["detail"]


@pytest.mark.parametrize("path", [PATH, "/v1/stores", "/stores/a/zarr.json", "/stores/a/", "/openapi.json", "/nope"])
def test_every_reply_forbids_scripts_frames_and_guessing_its_type(store: Store, path: str) -> None:
    with client_of(store) as client:
        headers = client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


def test_other_origins_read_nothing_unless_they_were_named(store: Store) -> None:
    asked = {"Origin": "https://lab.org", "Access-Control-Request-Method": "GET"}
    with client_of(store) as client:
        assert "access-control-allow-origin" not in client.get(PATH, headers=asked).headers
        assert client.options(PATH, headers=asked).status_code == 405
    with client_of(store, cors=("https://lab.org",)) as client:
        assert client.get(PATH, headers=asked).headers["access-control-allow-origin"] == "https://lab.org"
        before = client.options(PATH, headers=asked)
        assert (before.status_code, before.headers["access-control-allow-origin"]) == (204, "https://lab.org")
        for other in ("https://lab.org.evil.example", "http://lab.org", "null"):
            reply = client.get(PATH, headers={"Origin": other})
            assert "access-control-allow-origin" not in reply.headers
            assert "Origin" in reply.headers["vary"]


def test_a_token_is_demanded_for_everything_and_compared_whole(store: Store) -> None:
    with client_of(store, token="s3cret-ä") as client:
        for path in (PATH, "/", "/stores/a/zarr.json", "/openapi.json", "/v1/service-info", "/?token=wrong"):
            reply = client.get(path)
            assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
        for wrong in ("s3cret", "s3cret-äx", ""):
            assert client.get(PATH, headers={"Authorization": f"Bearer {wrong}".encode()}).status_code == 401
        assert client.get(PATH, headers={"Authorization": "Bearer s3cret-ä".encode()}).status_code == 200


def test_a_browser_brings_the_token_once_and_gets_a_cookie_that_is_not_the_token(store: Store) -> None:
    with client_of(store, token="s3cret") as client:
        reply = client.get("/?token=s3cret")
        assert (reply.status_code, reply.headers["location"]) == (303, "/")
        linked = client.get("/?at=MYC&%74oken=s3cret&token=s3cret&bins=51")
        assert (linked.status_code, linked.headers["location"]) == (303, "/?at=MYC&bins=51")
        cookie = reply.headers["set-cookie"]
        assert "s3cret" not in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert client.get(PATH).status_code == 200  # the client keeps cookies
        client.cookies.set("featurestore_token", "0" * 64)
    with client_of(store, token="another") as client:
        client.cookies.set("featurestore_token", cookie.partition("=")[2].partition(";")[0])
        assert client.get(PATH).status_code == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", [PATH, "/stores/a/zarr.json", "/"])
def test_nothing_can_be_written(store: Store, method: str, path: str) -> None:
    with client_of(store) as client:
        reply = client.request(method, path)
    assert reply.status_code == 405
    assert "read-only" in reply.json()["detail"]


def test_head_says_what_get_would(store: Store) -> None:
    with client_of(store) as client:
        for path in (PATH, "/v1/stores", "/stores/a/zarr.json"):
            got, head = client.get(path), client.head(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize(
    ("stores", "names"),
    [
        (["/data/hg38.store", "s3://bucket/mm10.store/"], ["hg38", "mm10"]),
        (["human=/data/hg38.store", "mouse=s3://bucket/mm10"], ["human", "mouse"]),
        (["https://lab.org/a/hg38.store?x=1"], ["hg38"]),
    ],
)
def test_stores_are_called_by_their_folder_or_as_they_were_named(stores: list[str], names: list[str]) -> None:
    assert [place.name for place in named_places(stores)] == names


def test_a_path_with_a_sign_of_equality_that_is_there_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a=b.store").mkdir()
    with pytest.raises(ValueError, match=r"write NAME=a=b.store"):
        named_places(["a=b.store"])
    assert named_places(["x=a=b.store"]) == [("x", str(tmp_path / "a=b.store"))]


def test_two_stores_of_one_name_are_refused_with_the_mend() -> None:
    with pytest.raises(ValueError, match=r"write NAME=/b/hg38.store"):
        named_places(["/a/hg38.store", "/b/hg38.store"])


@pytest.mark.parametrize(
    "wrong",
    [{"port": 70_000}, {"max_values": 0}, {"cache_bytes": -1}, {"cors": ("*",)}, {"cors": ("https://lab.org/x",)}],
)
def test_a_request_that_cannot_be_served_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ServeRequest(**wrong)  # type: ignore[arg-type]
