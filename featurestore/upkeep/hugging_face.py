"""A sealed store as a dataset repository of the Hugging Face Hub.

Belongs here: pushing a store in commits that can be resumed, and pulling one. Does not: how a store is copied
(`featurestore.upkeep.transfer`), what it says of itself (`featurestore.upkeep.data_card`,
`featurestore.upkeep.croissant`).

A repository has the objects of the store under their keys, byte for byte: README.md is its card, croissant.json its
Croissant document. MANIFEST.json is in the last commit, and a push that changes a repository takes the former one away
first: what was pushed in part is no sealed store. Pulling is a copy of `hf://datasets/OWNER/NAME@COMMIT`, so that keys
come from the description of the store, never from a listing.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from catalog.runtime.plugins import how_to_install
from featurestore.format import layout
from featurestore.format.declarations import DECLARED
from featurestore.format.manifest import CARDS, CROISSANT, MANIFEST, MARK, README, Manifest, SealedObject, sealed_as
from featurestore.format.metadata import GROUP
from featurestore.objects.objects import StorageOptions, connect
from featurestore.store import Store, open_store
from featurestore.upkeep.shard_copies import DamagedShard
from featurestore.upkeep.transfer import CopyReport, copy

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.hf_api import RepoFile

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_OF_STORES = re.compile(
    rf"(?:{'|'.join((layout.FEATURES, layout.ANCHORED, layout.OVERLAYS, layout.COMMITS, DECLARED))})/.+"
    rf"|{re.escape(GROUP)}|{'|'.join(map(re.escape, CARDS))}"
)
_HELD_BYTES = 128 << 20
"""Read before they are sent, beside one object more."""
_MOST_FILES = 500
"""Of a commit; the Hub ends larger ones after a minute."""
_MOST_BYTES = 4 << 30
"""Of a commit: what an interrupted push may have to send again."""


class NotPushed(ValueError):
    """A store, or a repository, that cannot be pushed or pulled as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushReport:
    """Result of a push."""

    url: str
    """Of the repository."""
    commit: str
    """The newest commit (40 hexadecimal digits), which names this state for ever."""
    top_hash: str
    objects: int
    """Of the store."""
    was_there: int
    """Objects that the repository already had."""
    bytes: int
    """Size of the objects that were sent (bytes)."""
    seconds: float

    def to_json(self) -> dict[str, object]:
        """Return the report as plain JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def push(
    store: Store, repository: str, *, private: bool = False, progress: Callable[[int, int], None] | None = None
) -> PushReport:
    """Push a sealed store to a dataset repository, which is made if it is not there; a second run resumes.

    Every object is compared with the manifest before it is sent. Objects that the repository already has are not
    sent; those that an earlier state of the store had are deleted there, and other files are left alone.
    Memory: 128 MiB and one shard.

    Parameters
    ----------
    repository
        `OWNER/NAME`. The token is the one that `hf auth login` keeps, or `HF_TOKEN`.
    private
        Make a new repository private; an existing one stays as it is.
    progress
        Called with the bytes sent or found so far, and those left.

    Raises
    ------
    NotPushed
        If the store is not sealed, or the repository has a README.md that `seal` did not write.
    DamagedShard
        If an object is not what the manifest says.
    ConnectionError
        If the Hub refuses, or cannot be reached.
    """
    started = time.perf_counter()
    manifest = store.manifest()
    if manifest is None:
        raise NotPushed(f"{store.url} is not sealed, so nothing says what it holds; `featurestore seal` it, then push")
    with _hub(repository) as api:
        url = str(api.create_repo(repository, repo_type="dataset", private=private or None, exist_ok=True))
        pusher = _Pusher(store, manifest, api, repository, progress)
        commit = pusher.push()
    return PushReport(
        url=url,
        commit=commit,
        top_hash=manifest.top_hash,
        objects=len(pusher.sealed),
        was_there=pusher.was_there,
        bytes=pusher.sent_bytes,
        seconds=time.perf_counter() - started,
    )


def pull(
    repository: str,
    destination: str | os.PathLike[str],
    *,
    revision: str | None = None,
    destination_options: StorageOptions | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CopyReport:
    """Copy a store from a dataset repository, checking every shard; a second run resumes.

    Parameters
    ----------
    repository
        `OWNER/NAME`.
    destination
        A path or any fsspec URL, as in `copy`.
    revision
        Branch, tag or commit; None for the newest.
    workers, progress
        As in `copy`.

    Returns
    -------
    As `copy` does; its `top_hash` is that of the repository's manifest.

    Raises
    ------
    NotPushed
        If the repository holds no sealed store, or what came is not what its manifest says.
    ConnectionError
        If the Hub refuses, or cannot be reached.
    """
    with _hub(repository) as api:
        found = api.dataset_info(repository, revision=revision).sha or ""
        if _COMMIT.fullmatch(found) is None:
            raise NotPushed(f"the Hub gives {found[:80]!r} as the commit of {repository}, which is none")
        source = f"hf://datasets/{repository}@{found}"
        try:
            manifest = open_store(source).manifest()
        except FileNotFoundError:
            manifest = None
        if manifest is None:
            raise NotPushed(f"{repository} holds no sealed store; if it is being pushed, pull when that is finished")
        report = copy(source, destination, destination_options=destination_options, workers=workers, progress=progress)
    if report.is_complete and report.top_hash is not None and report.top_hash != manifest.top_hash:
        raise NotPushed(
            f"{destination} has the top hash {report.top_hash}, and the manifest of {repository} says "
            f"{manifest.top_hash}: its metadata are not those that were sealed; ask its owner to push again"
        )
    return report


@contextmanager
def _hub(repository: str) -> "Iterator[HfApi]":
    """Give the interface of the Hub; its errors become sentences, without what was sent."""
    if _ID.fullmatch(repository) is None or ".." in repository or "--" in repository:
        raise ValueError(f"a repository is named OWNER/NAME, as on the Hub; got {repository[:80]!r}")
    try:
        # Here, since it costs time to import, and nothing else of a store needs it.
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise ImportError(f"the Hub is reached through huggingface_hub: {how_to_install('hub')}") from error
    try:
        yield HfApi()
    except HfHubHTTPError as error:
        raise ConnectionError(
            f"the Hugging Face Hub refuses {repository} (status {error.response.status_code}: {_first_line(error)}); "
            "check the name, and `hf auth login` with a token that may read it, or write it for a push"
        ) from error
    except Exception as error:
        # Without an answer, it raises what its HTTP library does; of an upload, a RuntimeError.
        if not (isinstance(error, RuntimeError) or type(error).__module__.startswith("httpx")):
            raise
        raise ConnectionError(
            f"the Hugging Face Hub does not answer for {repository} ({_first_line(error)}); the same command goes on "
            "when it does"
        ) from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:300]


class _Pusher:
    """One push."""

    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        api: "HfApi",
        repository: str,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._store = store
        self._api = api
        self._repository = repository
        self._progress = progress
        beside = {key: sealed_as(store.objects.get(key)) for key in (CROISSANT, MANIFEST)}
        self.sealed: dict[str, SealedObject] = manifest.objects | beside
        """Every object of the store, the manifest last."""
        self._left = sum(sealed.size for sealed in self.sealed.values())
        self._done = 0
        self.was_there = 0
        self.sent_bytes = 0

    def push(self) -> str:
        """Send what is missing; return the newest commit."""
        there = {item.path: item for item in self._files()}
        self._refuse_a_foreign_readme(there)
        stale = [path for path in there if path not in self.sealed and _OF_STORES.fullmatch(path)]
        missing = [key for key, sealed in self.sealed.items() if not self._has(there.get(key), key, sealed)]
        if (missing or stale) and MANIFEST not in missing:
            missing.append(MANIFEST)  # taken away before anything changes, and sent again at the end
        self.was_there = len(self.sealed) - len(missing)
        self._advance(sum(self.sealed[key].size for key in self.sealed.keys() - missing))
        if missing or stale:
            self._delete([*([MANIFEST] if MANIFEST in there else []), *stale])
            for keys in ([key for key in missing if key != MANIFEST], [MANIFEST]):
                for batch in self._commits(keys):
                    self._commit(batch)
        return str(self._api.dataset_info(self._repository).sha)

    def _files(self) -> "Iterator[RepoFile]":
        from huggingface_hub.hf_api import RepoFile

        listed = self._api.list_repo_tree(self._repository, repo_type="dataset", recursive=True)
        return (item for item in listed if isinstance(item, RepoFile))

    def _refuse_a_foreign_readme(self, there: "dict[str, RepoFile]") -> None:
        if README not in there:
            return
        commit = self._api.dataset_info(self._repository).sha
        if not connect(f"hf://datasets/{self._repository}@{commit}").get(README).startswith(MARK):
            raise NotPushed(
                f"{self._repository} has a {README} that was written by another hand, and the store has its own; "
                "push to another repository, or remove that file there"
            )

    def _has(self, file: "RepoFile | None", key: str, sealed: SealedObject) -> bool:
        """Tell whether the repository has an object: by sha256 if it is large, else by git's digest of its bytes."""
        if file is None or file.size != sealed.size:
            return False
        if file.lfs is not None:
            return str(file.lfs.sha256) == sealed.sha256
        return str(file.blob_id) == _git_digest(self._read(key))

    def _read(self, key: str) -> bytes:
        data = self._store.objects.get(key)
        if sealed_as(data) != self.sealed[key]:
            raise DamagedShard(
                f"{self._store.url}/{key} is not what {MANIFEST} says; `featurestore verify {self._store.url} --crc` "
                "says what is wrong, and nothing of it was pushed"
            )
        return data

    def _advance(self, size: int) -> None:
        self._done += size
        self._left -= size
        if self._progress is not None:
            self._progress(self._done, self._left)

    def _commits(self, keys: list[str]) -> "Iterator[list[CommitOperationAdd]]":
        """Upload objects; yield them in groups to be committed."""
        from huggingface_hub import CommitOperationAdd

        group: list[CommitOperationAdd] = []
        held: list[CommitOperationAdd] = []
        group_bytes = held_bytes = 0
        for key in keys:
            data = self._read(key)
            held.append(CommitOperationAdd(path_in_repo=key, path_or_fileobj=data))
            held_bytes += len(data)
            if held_bytes >= _HELD_BYTES or len(group) + len(held) >= _MOST_FILES:
                self._upload(held)
                group += held
                group_bytes += held_bytes
                held, held_bytes = [], 0
            if group_bytes >= _MOST_BYTES or len(group) >= _MOST_FILES:
                yield group
                group, group_bytes = [], 0
        if held:
            self._upload(held)
        if group or held:
            yield [*group, *held]

    def _upload(self, held: "list[CommitOperationAdd]") -> None:
        sizes = [operation.upload_info.size for operation in held]
        self._api.preupload_lfs_files(self._repository, held, repo_type="dataset")
        self.sent_bytes += sum(sizes)
        self._advance(sum(sizes))

    def _commit(self, additions: "list[CommitOperationAdd]") -> None:
        message = f"Push {len(additions):,} objects of {self._store.assembly.name}"
        self._api.create_commit(self._repository, additions, commit_message=message, repo_type="dataset")

    def _delete(self, paths: list[str]) -> None:
        """Delete files, in commits in their order."""
        from huggingface_hub import CommitOperationDelete

        for first in range(0, len(paths), _MOST_FILES):
            gone = [
                CommitOperationDelete(path_in_repo=path, is_folder=False) for path in paths[first : first + _MOST_FILES]
            ]
            message = f"Take away {len(gone):,} objects of a former state"
            self._api.create_commit(self._repository, gone, commit_message=message, repo_type="dataset")


def _git_digest(data: bytes) -> str:
    """Digest bytes as git does a file (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects)."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
