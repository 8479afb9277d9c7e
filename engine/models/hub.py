"""The hub over HTTP: what a repository holds at a revision, and its files from any byte on. The only file that opens sockets.

huggingface_hub is not used: it checks the length of what it fetched but not its sha256, keeps its own cache layout, and
fetches large files with a second, binary client. Two endpoints suffice, and a studio's mirror speaks both:
`/api/models/{repository}/revision/{revision}?blobs=true` and `/{repository}/resolve/{revision}/{file}`.
"""
from __future__ import annotations

import http.client
import ipaddress
import json
import logging
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import ModelError, Remedy
from .admission import admit_name
from .lock import REVISION, SHA256

log = logging.getLogger(__name__)

DEFAULT = "https://huggingface.co"
OFFLINE = ("SORA_OFFLINE", "HF_HUB_OFFLINE")    # either set to anything but 0 forbids the network
KEYRING = "sora"                                # service name in the system's keyring; the user name is the hub's host
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
BLOB = re.compile(r"[0-9a-f]{40}")
LISTING_BYTES = 32_000_000
FILES = 10_000
CHUNK = 1 << 20                                 # bytes read at most at once
TIMEOUT = 30.0                                  # seconds without a byte
AGAIN = Remedy(action="get_model", label="Try Again")        # of which model, the command knows


@dataclass(frozen=True, slots=True)
class Remote:
    """A file as the hub lists it. Large files have a sha256, small ones only git's sha1 of the blob."""

    size: int
    sha256: str
    blob: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A repository at one commit."""

    repository: str
    revision: str
    licence: str                                # as its card says, "" when it says nothing
    files: dict[str, Remote]


class Dropped(Exception):
    """The connection broke or the server was busy; asking again may help."""


class Hub:
    """One endpoint. `endpoint` "" means HF_ENDPOINT, or the public hub. Raises ModelError."""

    def __init__(self, endpoint: str = ""):
        for name in OFFLINE:
            if os.environ.get(name, "0") not in ("", "0"):
                raise ModelError(f"Downloads are switched off on this machine ({name} is set); import the model from a disk that has it.",
                                 Remedy(action="choose_folder", label="Show the Models"))        # trying again would not help
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or DEFAULT).rstrip("/")
        self._origin = _origin(self.endpoint)
        self._token = _token(self._origin)
        self._opener = urllib.request.build_opener(_Redirects(self), urllib.request.HTTPSHandler(context=_context()))

    def listing(self, repository: str, revision: str = "main") -> Listing:
        """What `repository` holds at `revision`. Raises ModelError, Dropped."""
        if not REPOSITORY.fullmatch(repository):
            raise ModelError(f"{repository[:80]!r} is not a repository.", AGAIN)
        url = f"{self.endpoint}/api/models/{repository}/revision/{urllib.parse.quote(revision, safe='')}?blobs=true"
        with self._open(url) as answer:
            try:
                text = answer.read(LISTING_BYTES + 1)
            except (OSError, http.client.HTTPException) as error:
                raise Dropped(_reason(error)) from error
        return _listing(repository, text)

    def stream(self, repository: str, revision: str, path: str, start: int) -> tuple[int, Iterator[bytes]]:
        """The bytes of a file from `start` on, and where they really begin (0 when the server knows no ranges).

        Raises ModelError and Dropped, also while iterating.
        """
        url = f"{self.endpoint}/{repository}/resolve/{revision}/{urllib.parse.quote(path)}"
        answer = self._open(url, {"Range": f"bytes={start}-"} if start else {})
        begin = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", "")) if answer.status == 206 else None
        return int(begin[1]) if begin else 0, _chunks(answer)

    def _open(self, url: str, headers: dict[str, str] | None = None):
        asked = urllib.request.Request(url, headers={"User-Agent": "sora", "Accept-Encoding": "identity", **(headers or {})})
        self.authorise(asked)
        try:
            return self._opener.open(asked, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error, url) from error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
                raise ModelError(f"{self._origin} cannot prove who it is: {error.reason}.", AGAIN) from error
            raise Dropped(_reason(error)) from error

    def authorise(self, asked: urllib.request.Request) -> None:
        """Adds the token, only for the endpoint itself: a redirect to another host never sees it."""
        if self._token and _origin(asked.full_url) == self._origin:
            asked.add_unredirected_header("Authorization", f"Bearer {self._token}")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a hub's redirects to its file servers: never from https to http, never with the token to another host."""

    max_redirections = 5

    def __init__(self, hub: Hub):
        self._hub = hub

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        before, after = urllib.parse.urlsplit(req.full_url).scheme, urllib.parse.urlsplit(newurl).scheme
        if after != "https" and (before, after) != ("http", "http"):
            raise ModelError(f"{_origin(req.full_url)} sends its files over a connection that is not encrypted; they were not taken.", AGAIN)
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        self._hub.authorise(following)
        return following


def _origin(url: str) -> str:
    """scheme://host:port of an address. Raises ModelError when it is not a web address."""
    parts = urllib.parse.urlsplit(url)
    try:
        port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    except (ValueError, KeyError) as error:
        raise ModelError(f"{url[:80]!r} is not the address of a hub.", AGAIN) from error
    if not parts.hostname or parts.username:
        raise ModelError("The address of a hub has a host and no password in it.", AGAIN)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _token(origin: str) -> str:
    """The token for `origin`, or "". HF_TOKEN belongs to HF_ENDPOINT (or the public hub); any other host needs its own in the keyring."""
    host = urllib.parse.urlsplit(origin).hostname or ""
    if origin.startswith("http:") and not _is_here(host):
        log.warning("%s is not encrypted: no token is sent to it", origin)
        return ""
    if os.environ.get("HF_TOKEN") and origin == _origin(os.environ.get("HF_ENDPOINT") or DEFAULT):
        return os.environ["HF_TOKEN"].strip()
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return ""
    try:
        return keyring.get_password(KEYRING, host) or ""
    except KeyringError as error:
        log.info("no token from the keyring: %s", type(error).__name__)
        return ""


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _context() -> ssl.SSLContext:
    """The system's certificates and, where installed, certifi's: some Pythons come without any."""
    context = ssl.create_default_context()
    try:
        import certifi
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context


def _chunks(answer) -> Iterator[bytes]:
    with answer:
        while True:
            try:
                block = answer.read1(CHUNK)     # what is there already, so that a kill loses little
            except (OSError, http.client.HTTPException) as error:
                raise Dropped(_reason(error)) from error
            if not block:
                return
            yield block


def _refusal(error: urllib.error.HTTPError, url: str) -> Exception:
    """What an HTTP status means: Dropped when waiting helps, ModelError when it doesn't."""
    where = urllib.parse.urlsplit(url)._replace(query="").geturl()
    if error.code in (401, 403):
        return ModelError(f"The hub does not give {where} to this machine: accept its terms on its page and put a token into the keyring "
                          "or HF_TOKEN.", AGAIN)
    if error.code == 404:
        return ModelError(f"The hub has no {where}.", AGAIN)
    if error.code == 416 or error.code == 429 or error.code >= 500:
        return Dropped(f"HTTP {error.code}")
    return ModelError(f"The hub answered {error.code} for {where}.", AGAIN)


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", error)) or type(error).__name__


def _listing(repository: str, text: bytes) -> Listing:
    try:
        fields = json.loads(text)
        siblings, revision, card = fields["siblings"], fields["sha"], fields.get("cardData") or {}
        files = {str(admit_name(each["rfilename"])): _remote(each) for each in siblings if _is_plain(each["rfilename"])}
        licence = card.get("license_name") if card.get("license") in (None, "other") else card["license"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"The hub's answer about {repository} makes no sense ({type(error).__name__}: {str(error)[:80]}).", AGAIN) from error
    if len(siblings) > FILES or not REVISION.fullmatch(str(revision)):
        raise ModelError(f"The hub's answer about {repository} makes no sense (no commit, or too many files).", AGAIN)
    return Listing(repository=repository, revision=revision, licence=str(licence or card.get("license") or "").lower(), files=files)


def _is_plain(path: object) -> bool:
    """Hidden files (.gitattributes) and pictures with any name are nobody's business here; everything wanted has a plain name."""
    try:
        admit_name(path)
    except ModelError:
        return False
    return True


def _remote(fields: dict) -> Remote:
    large = fields.get("lfs") or {}
    size, sha256, blob = large.get("size", fields.get("size")), large.get("sha256", ""), fields.get("blobId") or ""
    if not isinstance(size, int) or size < 0 or sha256 and not SHA256.fullmatch(sha256) or blob and not BLOB.fullmatch(blob):
        raise ValueError(f"{fields.get('rfilename')!r} has no length or no digest")
    return Remote(size, sha256, blob)
