"""Where large things are kept: bodies, raw pages, previews, under keys such as `bodies/ab/abcd…`.

Belongs here: a folder and an S3 bucket with the same few verbs. A key appears whole or not at all, and writing it
again does no harm. Does not belong here: what a key means (`keys.py`), when an object may go, how an S3 client is made
(it is passed in).
"""

import errno
import itertools
import os
import re
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from harvester_dagster.config_mistakes import ConfigError
from harvester_dagster.failures import PermanentError, StorageError

CACHE_BYTES = 2 * 1024**3
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=@+-]*(/[A-Za-z0-9][A-Za-z0-9._=@+-]*)*")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DAY = 24 * 3600
_IN_USE_SECONDS = 1800
"""A cached copy that was asked for in this time may still be read by name."""


class StoredObject(NamedTuple):
    """An object as a listing tells it: length in bytes, time of the last writing in UTC."""

    key: str
    length: int
    modified_at: datetime


class Objects(Protocol):
    """What every store of objects can do.

    A key is one or more names, joined by slashes; anything else raises ValueError. Raises StorageError when the store
    cannot be used now, PermanentError ("no-object") for a missing key.
    """

    scratch: Path
    """A folder for files on their way to `put`; what a killed process left there goes after a day."""

    def put(self, key: str, content: bytes | Path) -> None:
        """Store the content under the key, whole or not at all, in the place of what was there. A Path is taken
        over: the file is gone from where it was."""

    def note(self, key: str, content: bytes) -> None:
        """As `put`, for what its reader can judge and do without: a power cut, which what was `put` survives, may
        take it away or leave it broken. Waiting for the disk, which is not done here, is most of the time of a small
        object."""

    def get(self, key: str) -> bytes:
        """The object's content. Raises PermanentError for a missing key."""

    def path(self, key: str) -> Path:
        """A local file with the object's content, to be read soon and not written. Raises PermanentError for a
        missing key."""

    def exists(self, key: str) -> bool:
        """Whether there is an object of that key."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove the objects. Keys that are not there are fine."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """The objects whose keys begin with the prefix. One that comes or goes meanwhile may be there or not."""

    def folders(self, prefix: str) -> Iterator[str]:
        """The prefixes one level below this one, which ends with `/`, in their order."""


def open_objects(where: str, folder: Path, s3: Callable[[], Any] | None = None) -> Objects:
    """The store of objects that `store.objects` names: `"folder"`, or `"s3://bucket/prefix"` with a client that `s3`
    makes; then `folder` holds copies that may go.

    Raises ConfigError when S3 refuses (credentials, no such bucket), StorageError when it cannot be reached.
    """
    if where == "folder":
        return Folder(folder)
    if s3 is None:
        raise ConfigError(f"store.objects = {where!r}: there is no S3 client here")
    bucket, _, prefix = where.removeprefix("s3://").partition("/")
    kept = Bucket(s3(), bucket, prefix.strip("/"), folder / "cache")
    kept.check()
    return kept


class Folder:
    """Objects as files below `root`, named by their keys."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scratch = _scratch(root)

    def put(self, key: str, content: bytes | Path) -> None:
        """Written and synced beside its place, then renamed: it survives a power cut."""
        target = self._file(key)
        with _disk(self.root):
            file = _near(content, self.scratch) if isinstance(content, Path) else _written(content, self.scratch)
            try:
                _place(file, target)
            except BaseException:
                file.unlink(missing_ok=True)
                raise

    def note(self, key: str, content: bytes) -> None:
        """Written beside its place, then renamed, without waiting for the disk."""
        target = self._file(key)
        with _disk(self.root):
            file = _new_name(self.scratch)
            try:
                file.write_bytes(content)
                _named(file, target)
            except BaseException:
                file.unlink(missing_ok=True)
                raise

    def get(self, key: str) -> bytes:
        """Read from its file."""
        with _disk(self.root, key):
            return self._file(key).read_bytes()

    def path(self, key: str) -> Path:
        """The object's own file: not to be written."""
        path = self._file(key)
        with _disk(self.root, key):
            path.stat()
        return path

    def exists(self, key: str) -> bool:
        """By the file alone; a folder of that name is no object."""
        return self._file(key).is_file()

    def delete(self, keys: Iterable[str]) -> None:
        """Folders that become empty go too."""
        for key in keys:
            path = self._file(key)
            with _disk(self.root):
                path.unlink(missing_ok=True)
            _prune_empty(path.parent, self.root)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Sorted within each folder; files on their way to `put` are left out."""
        start = self.root / prefix.rpartition("/")[0]
        for folder, below, files in os.walk(start):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in sorted(files):
                path = Path(folder, name)
                key = path.relative_to(self.root).as_posix()
                if not key.startswith(prefix):
                    continue
                try:
                    found = path.stat()
                except FileNotFoundError:  # deleted meanwhile
                    continue
                yield StoredObject(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def folders(self, prefix: str) -> Iterator[str]:
        """By one look into that folder."""
        folder = self.root / prefix
        with _disk(self.root):
            names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        yield from (f"{prefix}{name}/" for name in names if not name.startswith("."))

    def _file(self, key: str) -> Path:
        return self.root / _checked(key)


class Bucket:
    """Objects in an S3 bucket, under an optional prefix, with local copies of those that were asked for as files.

    `client` is boto3's; its own retries (mode "standard") come before any failure here. The copies take `cache_bytes`
    at most, or what was used in the last half hour if that is more.
    """

    def __init__(self, client: Any, bucket: str, prefix: str, cache: Path, cache_bytes: int = CACHE_BYTES) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._cache = Cache(cache, cache_bytes)
        self.scratch = self._cache.scratch

    def check(self) -> None:
        """Raise ConfigError when the bucket cannot be used with these credentials."""
        name = f"s3://{self._bucket}"
        try:
            with self._failures(""):
                self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        except PermanentError:
            raise ConfigError(f"store.objects: there is no bucket {name}", "make it, or mend the name") from None
        except StorageError as error:
            if error.code != "s3-credentials":
                raise
            raise ConfigError(f"store.objects: {error}") from None

    def put(self, key: str, content: bytes | Path) -> None:
        """By one request, or in parts for a large file. A file then becomes the local copy."""
        name = self._name(key)
        if isinstance(content, bytes):
            with self._failures(key):
                self._client.put_object(Bucket=self._bucket, Key=name, Body=content)
            return
        with self._failures(key):
            self._client.upload_file(str(content), self._bucket, name)
        self._cache.take(key, content)

    def note(self, key: str, content: bytes) -> None:
        """As `put`: S3 has nothing quicker."""
        self.put(key, content)

    def get(self, key: str) -> bytes:
        """From S3, always; local copies are for `path`."""
        with self._failures(key):
            content: bytes = self._client.get_object(Bucket=self._bucket, Key=self._name(key))["Body"].read()
            return content

    def path(self, key: str) -> Path:
        """The local copy, fetched unless it is there."""

        def fetch(to: Path) -> None:
            with self._failures(key):
                self._client.download_file(self._bucket, self._name(key), str(to))

        return self._cache.path(_checked(key), fetch)

    def exists(self, key: str) -> bool:
        """By a HEAD request."""
        try:
            with self._failures(key):
                self._client.head_object(Bucket=self._bucket, Key=self._name(key))
        except PermanentError:
            return False
        return True

    def delete(self, keys: Iterable[str]) -> None:
        """A thousand with one request; their local copies go too."""
        rest = iter(keys)
        while batch := list(islice(rest, 1000)):
            names = [{"Key": self._name(key)} for key in batch]
            with self._failures(batch[0]):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": names, "Quiet": True})
            for key in batch:
                self._cache.drop(key)
            if errors := answer.get("Errors"):
                raise StorageError("s3", f"S3 did not delete {len(errors)} objects: {errors[0].get('Message', '')}")

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Page by page of a thousand, in the order of the keys."""
        for page in self._pages(prefix):
            for entry in page.get("Contents", ()):
                yield StoredObject(entry["Key"].removeprefix(self._prefix), entry["Size"], entry["LastModified"])

    def folders(self, prefix: str) -> Iterator[str]:
        """Page by page of a thousand; what is below them is not listed."""
        for page in self._pages(prefix, Delimiter="/"):
            yield from (found["Prefix"].removeprefix(self._prefix) for found in page.get("CommonPrefixes", ()))

    def _pages(self, prefix: str, **options: str) -> Iterator[dict[str, Any]]:
        paginator = self._client.get_paginator("list_objects_v2")
        rest = iter(paginator.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix, **options))
        while True:
            with self._failures(prefix):
                page = next(rest, None)
            if page is None:
                return
            yield page

    def _name(self, key: str) -> str:
        return self._prefix + _checked(key)

    @contextmanager
    def _failures(self, key: str) -> Iterator[None]:
        """Sort what boto3 raises. Only a missing object is permanent: nothing else here is a document's fault."""
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

        try:
            yield
        except (NoCredentialsError, PartialCredentialsError):
            raise StorageError(
                "s3-credentials",
                f"there are no credentials for s3://{self._bucket}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "or what else boto3 looks for",
            ) from None
        except ClientError as error:
            raise self._refused(error, key) from None
        except S3UploadFailedError as error:
            cause = error.__context__
            if isinstance(cause, ClientError):
                raise self._refused(cause, key) from None
            raise StorageError("s3", f"s3://{self._bucket} did not take {key}: {error}") from None
        except BotoCoreError as error:
            raise StorageError(
                "s3-unreachable",
                f"s3://{self._bucket} cannot be reached ({type(error).__name__}); "
                "look at store.s3_endpoint and at the service",
            ) from None
        except OSError as error:
            raise disk_failure(error, self.scratch) from None

    def _refused(self, error: Any, key: str) -> PermanentError | StorageError:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = error.response.get("Error", {}).get("Code", "")
        if code == "NoSuchBucket":
            return PermanentError("no-bucket", f"there is no bucket {self._bucket}", status=status)
        if status == 404:
            return PermanentError("no-object", f"there is no object {key} in s3://{self._bucket}", status=status)
        if status in (401, 403):
            return StorageError(
                "s3-credentials",
                f"s3://{self._bucket} refuses these credentials ({code}); look at AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and the bucket's policy",
                status=status,
            )
        return StorageError("s3", f"s3://{self._bucket} answered {status} ({code}) for {key}", status=status)


class Cache:
    """Local copies of objects, the longest unused ones removed beyond a bound. One object serves all threads."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self.scratch = _scratch(root)
        self._bytes = sum(found.st_size for _path, found in self._files())

    def path(self, key: str, fetch: Callable[[Path], None]) -> Path:
        """The copy of that key; `fetch` writes it to the path that it is given, unless there is one already."""
        kept = self._root / key
        with _disk(self._root):
            try:
                os.utime(kept)
                return kept
            except FileNotFoundError:
                pass
            handle, name = tempfile.mkstemp(dir=self.scratch)
            os.close(handle)
        new = Path(name)
        try:
            fetch(new)
            self.take(key, new)
        finally:
            new.unlink(missing_ok=True)
        return kept

    def take(self, key: str, file: Path) -> None:
        """Take the file over as the copy of that key, and make room if the bound is passed."""
        kept = self._root / key
        with _disk(self._root):
            kept.parent.mkdir(parents=True, exist_ok=True)
            length = file.stat().st_size
            os.utime(file)
            shutil.move(file, kept)
        with self._lock:
            self._bytes += length
            if self._bytes > self._max_bytes:
                self._shrink()

    def drop(self, key: str) -> None:
        """Forget the copy of that key, if there is one."""
        (self._root / key).unlink(missing_ok=True)

    def _shrink(self) -> None:
        """To three quarters of the bound, but nothing that somebody may be about to open."""
        files = sorted(self._files(), key=lambda entry: entry[1].st_mtime)
        self._bytes = sum(found.st_size for _path, found in files)
        for path, found in files:
            if self._bytes <= self._max_bytes * 3 // 4 or found.st_mtime > time.time() - _IN_USE_SECONDS:
                return
            path.unlink(missing_ok=True)
            self._bytes -= found.st_size

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for folder, _below, files in os.walk(self._root):
            for name in files:
                path = Path(folder, name)
                try:
                    yield path, path.stat()
                except FileNotFoundError:
                    continue


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} cannot be the key of an object")
    return key


def _scratch(root: Path) -> Path:
    scratch = root / ".scratch"
    with _disk(root):
        scratch.mkdir(parents=True, exist_ok=True)
        for path in scratch.iterdir():
            try:
                if path.stat().st_mtime < time.time() - _DAY:
                    path.unlink()
            except FileNotFoundError:
                continue
    return scratch


_number = itertools.count()
_ours = uuid.uuid4().hex


def _new_name(scratch: Path) -> Path:
    """For a file that nobody else makes. `mkstemp` takes longer than writing it."""
    return scratch / f"{_ours}-{os.getpid()}-{next(_number)}"


def _written(content: bytes, scratch: Path) -> Path:
    handle, name = tempfile.mkstemp(dir=scratch)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()
        raise
    return path


def _near(file: Path, scratch: Path) -> Path:
    """The file on the disk of the objects, safely written."""
    if file.stat().st_dev != scratch.stat().st_dev:
        handle, name = tempfile.mkstemp(dir=scratch)
        os.close(handle)
        shutil.move(file, name)
        file = Path(name)
    _sync(file)
    return file


def _place(file: Path, target: Path) -> None:
    """Give the file its name, to last."""
    _named(file, target)
    with suppress(FileNotFoundError):  # and the object too, by now
        _sync(target.parent)


def _named(file: Path, target: Path) -> None:
    """Give the file its name. Its folder may be removed as empty, by `delete`, while we make and use it."""
    for tries_left in range(9, -1, -1):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
            return
        except (FileNotFoundError, FileExistsError):
            if not tries_left:
                raise


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _prune_empty(folder: Path, root: Path) -> None:
    """Remove folders that became empty; one that fills again meanwhile stays."""
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


@contextmanager
def _disk(root: Path, key: str | None = None) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if key is None:
            raise disk_failure(error, root) from None
        raise PermanentError("no-object", f"there is no object {key} in {root}") from None
    except OSError as error:
        raise disk_failure(error, root) from None


def disk_failure(error: OSError, folder: Path) -> StorageError:
    """What a failure of the disk that holds `folder` is called: StorageError "disk-full" or "disk"."""
    if error.errno in _FULL:
        return StorageError("disk-full", f"the disk of {folder} is full; make room there, then run this again")
    return StorageError("disk", f"{folder} cannot be used: {error.strerror or error}")
