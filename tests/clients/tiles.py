"""Foreign clients against a running node over HTTP: the ledger's tiles, the feed of changes, the metrics.

usage: tiles.py HTTP_ADDRESS VERIFIER_KEY      packages: sigstore==4.5.1 prometheus-client sseclient-py
The node must hold some records (`touchmark serve --sample`).

The checkpoint is read, and inclusion proofs are verified, by the code with which sigstore's Python client checks the
transparency log Rekor; signatures by `cryptography`. What is between (paths of tiles, proofs out of tiles, the key of a
signed note) is written here from C2SP tlog-tiles, signed-note and RFC 6962, and knows nothing of the project.
"""

import base64
import hashlib
import random
import sys
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import sseclient
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import SignedCheckpoint
from sigstore.errors import VerificationError

address, verifier_key = sys.argv[1:]


def get(path):
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as reply:
        return reply.read()


def grouped(index):
    """1234067 -> x001/x234/067."""
    groups = [index % 1000]
    while index >= 1000:
        index //= 1000
        groups.insert(0, index % 1000)
    return "/".join([f"x{group:03}" for group in groups[:-1]] + [f"{groups[-1]:03}"])


class Key:
    """A verifier key of C2SP signed-note, in the place of sigstore's key ring."""

    def __init__(self, text):
        self.name, written_id, key = text.split("+", 2)
        key = base64.b64decode(key)
        assert key[0] == 1, "an Ed25519 key"
        self.id = hashlib.sha256(self.name.encode() + b"\n" + key).digest()[:4]
        assert self.id.hex() == written_id, "the key's id is the hash of its name and bytes"
        self.key = Ed25519PublicKey.from_public_bytes(key[1:])

    def verify(self, *, key_id, signature, data):
        try:
            self.key.verify(signature, data)
        except InvalidSignature as error:
            raise VerificationError(str(error)) from error


class Log:
    """The tiles of a tree of `size` leaves."""

    def __init__(self, size):
        self.size = size
        self.tiles = {}

    def tile(self, level, index):
        width = min(256, (self.size >> (8 * level)) - 256 * index)
        path = f"/log/tile/{level}/{grouped(index)}" + (f".p/{width}" if width < 256 else "")
        if path not in self.tiles:
            data = get(path)
            assert len(data) == 32 * width, path
            self.tiles[path] = [data[start : start + 32] for start in range(0, len(data), 32)]
        return self.tiles[path]

    def hash(self, start, end):
        """The hash of the leaves from `start` to `end` (RFC 6962 section 2.1)."""
        count = end - start
        if count & (count - 1):
            split = start + (1 << (count - 1).bit_length() - 1)
            return node(self.hash(start, split), self.hash(split, end))
        height = count.bit_length() - 1
        level, first = height // 8, start >> 8 * (height // 8)
        hashes = [self.tile(level, first // 256)[first % 256 + place] for place in range(1 << height % 8)]
        while len(hashes) > 1:
            hashes = [node(*pair) for pair in zip(hashes[::2], hashes[1::2])]
        return hashes[0]

    def path(self, index, start, end):
        """The inclusion path of a leaf (RFC 6962 section 2.1.1)."""
        if end - start == 1:
            return []
        split = start + (1 << (end - start - 1).bit_length() - 1)
        if index < split:
            return self.path(index, start, split) + [self.hash(split, end)]
        return self.path(index, split, end) + [self.hash(start, split)]

    def entries(self):
        for index in range((self.size + 255) // 256):
            width = min(256, self.size - 256 * index)
            data = get(f"/log/tile/entries/{grouped(index)}" + (f".p/{width}" if width < 256 else ""))
            while data:
                length = int.from_bytes(data[:2], "big")
                yield data[2 : 2 + length]
                data = data[2 + length :]


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def included(index, size, root, path, entry):
    """Whether sigstore's verifier finds an entry in a tree."""
    proof = SimpleNamespace(log_index=index, tree_size=size, root_hash=root, hashes=path)
    try:
        verify_merkle_inclusion(SimpleNamespace(_inner=SimpleNamespace(inclusion_proof=proof, canonicalized_body=entry)))
    except VerificationError:
        return False
    return True


def metrics():
    return {family.name: family for family in text_string_to_metric_families(get("/metrics").decode())}


def newest_checkpoint():
    """The checkpoint that covers all that was registered; one is published every second."""
    entries = int(metrics()["touchmark_ledger_entries"].samples[0].value)
    for _ in range(100):
        text = get("/log/checkpoint").decode()
        if SignedCheckpoint.from_text(text).checkpoint.log_size >= entries:
            return text
        time.sleep(0.1)
    raise AssertionError(f"no checkpoint covers {entries} entries")


def main():
    key = Key(verifier_key)
    text = newest_checkpoint()
    signed = SignedCheckpoint.from_text(text)
    signed.signed_note.verify(key, key.id)
    assert signed.checkpoint.origin == key.name, signed
    forged = SignedCheckpoint.from_text(text.replace(f"\n{signed.checkpoint.log_size}\n", "\n1\n"))
    try:
        forged.signed_note.verify(key, key.id)
        raise AssertionError("a forged checkpoint was taken")
    except VerificationError:
        pass
    size, root = signed.checkpoint.log_size, bytes.fromhex(signed.checkpoint.log_hash)
    log = Log(size)
    entries = list(log.entries())
    assert len(entries) == size > 256, size
    assert log.hash(0, size) == root, "the tiles give the root"
    random.seed(size)
    for index in {0, 255, 256, size - 1, *random.sample(range(size), 200)}:
        path = log.path(index, 0, size)
        assert included(index, size, root, path, entries[index]), index
        assert not included(index, size, root, path, entries[index] + b" "), index
        assert not included(index, size, root, [*path[:-1], bytes(32)], entries[index]), index
    try:
        get(f"/log/tile/0/{grouped(size // 256)}.p/{size % 256 + 1}")
        raise AssertionError("a tile that no checkpoint covers was given")
    except urllib.error.HTTPError as error:
        assert error.code == 404, error

    request = urllib.request.Request(f"http://{address}/events?from=0", headers={"Last-Event-ID": "9"})
    with urllib.request.urlopen(request, timeout=10) as stream:
        events = sseclient.SSEClient(stream).events()
        for index in range(10, size):
            event = next(events)
            assert (event.id, event.event) == (str(index), "create"), event

    families = metrics()
    assert families["touchmark_ledger_entries"].samples[0].value == size
    assert families["touchmark_ledger_commit_seconds"].type == "histogram"
    results = {sample.labels["result"]: sample.value for sample in families["touchmark_registry_results"].samples}
    assert results["written"] == size, results
    print(f"foreign clients: sigstore verifies {size} entries over HTTP; events and metrics are read")


main()
