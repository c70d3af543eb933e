"""A fedflat client in Python, written after docs/protocol.md. README.md says how to run it."""

import argparse
import asyncio
import hashlib
import json
import os
import pathlib
import random
import secrets
import struct
import sys
import time
import urllib.parse

import numpy as np
import websockets
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import training
from training import NotDone

CHUNK = 64 * 1024
WINDOW = 512 * 1024
# Close codes after which a client does not come back by itself.
FINAL = {4000: "another client with this key has joined", 4001: "not admitted", 4003: "version"}


class Store:
    """A folder of this client's own: its key, its record of a run, and updates not yet settled."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "key").exists():
            self.write("key", secrets.token_bytes(32))
        self.key = Ed25519PrivateKey.from_private_bytes(self.read("key"))
        self.public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.run, self.counted, self.pending = None, None, {}
        if (self.folder / "record.json").exists():
            self.run, self.counted, pending = json.loads(self.read("record.json"))
            kept = {path.name for path in self.folder.glob("update.*")}
            self.pending = {a: offer for a, offer in pending.items() if "update." + a in kept}

    def read(self, name):
        return (self.folder / name).read_bytes()

    def write(self, name, data):
        """Whole or not at all, and on the disk when it returns."""
        path = self.folder / name
        descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.new", path)

    def save(self):
        self.write("record.json", json.dumps([self.run, self.counted, self.pending]).encode())

    def keep(self, offer, update):
        self.write("update." + offer["assignment"], update)
        self.pending[offer["assignment"]] = offer
        self.save()

    def settle(self, assignment, counted=None):
        """The update is counted, or never will be."""
        self.counted = counted or self.counted
        self.pending.pop(assignment, None)
        self.save()
        (self.folder / ("update." + assignment)).unlink(missing_ok=True)


class Client:
    def __init__(self, url, store, x, y, held_out, token):
        self.url, self.store, self.token = url, store, token
        # The same examples each time: every so many of them.
        every = round(1 / held_out) if held_out > 0 else len(x) + 1
        out = np.arange(len(x)) % every == every - 1
        self.train_on, self.test_on = (x[~out], y[~out]), (x[out], y[out])
        self.line = None
        self.work = None  # the assignment in hand
        self.task = None  # what does it
        self.void = False  # nobody wants it any more
        self.reports = {}  # not yet answered
        self.download = None
        self.uploads = {}
        self.model = (None, None)  # the last one: its hash and its bytes
        self.not_before = 0.0
        self.leaving = False

    # The line: sections 1, 2, 4 and 9

    async def run(self):
        try:
            await self.keep_line()
        finally:
            self.void = True

    async def keep_line(self):
        failures = 0
        while not self.leaving:
            code = 1006
            try:
                # The pings of WebSocket are switched off: the protocol has its own.
                connected = websockets.connect(
                    self.url, compression=None, ping_interval=None, max_size=2**18
                )
                async with connected as line:
                    await self.handshake(line)
                    failures = 0
                    await self.listen(line)
            except websockets.ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else code
            except (OSError, asyncio.TimeoutError, websockets.WebSocketException) as error:
                say(f"{self.url}: {error!r}")
            self.line, self.uploads = None, {}
            if code in FINAL:
                sys.exit(f"client: {FINAL[code]}")
            if not self.leaving:
                wait = random.uniform(0, min(60, 0.5 * 2 ** min(failures, 10)))
                wait = max(wait, self.not_before - time.monotonic())
                failures += 1
                say(f"No line ({code}): another try in {wait:.1f} s")
                await asyncio.sleep(wait)

    async def handshake(self, line):
        store, nonce = self.store, secrets.token_hex(32)
        pending = [{"assignment": a, "sha256": o["sha256"]} for a, o in store.pending.items()]
        if self.work is not None:
            pending.append({"assignment": self.work["assignment"]})
        hello = {
            "type": "hello",
            "protocol": [1, 1],
            "run": store.run,
            "key": store.public.hex(),
            "nonce": nonce,
            "capabilities": {
                "algorithms": training.ALGORITHMS,
                "layers": training.LAYERS,
                "codecs": ["float32"],
                "build": "numpy",
            },
            "samples": len(self.train_on[0]),
            "counted": store.counted,
            "pending": pending[-16:],
            "agent": "fedflat-python/0.1",
        }
        await line.send(json.dumps(hello))
        challenge = await self.expect(line, "challenge")
        if challenge["run"] != store.run:
            # What is kept belongs to another run.
            for assignment in list(store.pending):
                store.settle(assignment)
            store.run, store.counted = challenge["run"], None
            store.save()
            self.void, self.reports, self.download = True, {}, None
        lines = ["fedflat/1 proof", challenge["run"], host_of(self.url), nonce, challenge["nonce"]]
        signature = store.key.sign("\n".join(lines).encode()).hex()
        proof = {"type": "proof", "signature": signature, "token": self.token}
        await line.send(json.dumps(proof))
        welcome = await self.expect(line, "welcome")
        say(f"Connected to {self.url}")
        self.line, self.limits, self.transfer, self.not_before = line, welcome["limits"], 1, 0.0
        self.heartbeat = welcome["heartbeat"] / 1000
        if welcome.get("lastCounted") is not None:
            # FedAvg keeps no state, so nothing is lost where it is not the last known here.
            store.settle(welcome["lastCounted"]["assignment"], welcome["lastCounted"])
        for offer in [*store.pending.values(), *self.reports.values()]:
            await self.send(offer)
        await self.send({"type": "ready"})
        if self.download is not None:
            await self.want()

    async def expect(self, line, kind):
        """The next message of this kind, before the line stands."""
        while True:
            message = json.loads(await asyncio.wait_for(line.recv(), 20))
            if message["type"] == kind:
                return message
            if message["type"] == "error":
                say(f"The aggregator says: {message['message']!r}")

    async def listen(self, line):
        """Until the line closes. An end that says nothing for three heartbeats is gone."""
        heard = time.monotonic()
        while True:
            try:
                frame = await asyncio.wait_for(line.recv(), self.heartbeat / 2)
            except asyncio.TimeoutError:
                if time.monotonic() - heard > 3 * self.heartbeat:
                    return await line.close(4004, "silent")
                await self.send({"type": "ping"})
                continue
            heard = time.monotonic()
            try:
                if isinstance(frame, bytes):
                    await self.take(frame)
                else:
                    message = json.loads(frame)
                    handle = getattr(self, "on_" + message["type"], None)
                    if handle is not None:
                        await handle(message)
            except (KeyError, TypeError, ValueError, struct.error) as wrong:
                error = {"type": "error", "code": "bad-field", "message": repr(wrong)[:1000]}
                await self.send(error)

    async def send(self, message):
        """On the line that stands; what must not be lost is said again after each welcome."""
        try:
            if self.line is not None:
                is_chunk = isinstance(message, bytes)
                await self.line.send(message if is_chunk else json.dumps(message))
        except websockets.ConnectionClosed:
            pass

    async def on_ping(self, message):
        await self.send({"type": "pong", "id": message.get("id")})

    async def on_wait(self, message):
        if message.get("retryAfter") is not None:
            self.not_before = time.monotonic() + message["retryAfter"] / 1000

    async def on_error(self, message):
        say(f"The aggregator says: {message['message']!r}")
        assignment = message.get("assignment")
        if assignment in self.store.pending or assignment in self.reports:
            await self.send({"type": "failed", "assignment": assignment, "code": "other"})
            self.drop(assignment)

    async def on_finished(self, message):
        say(f"Finished: {message['reason']!r}")
        self.void = self.leaving = True
        asyncio.ensure_future(self.leave(message.get("model")))

    async def leave(self, blob):
        if blob is not None:
            self.store.write("model.safetensors", await self.fetch(blob))
        await self.send({"type": "bye"})

    # Models on their way here: section 5

    async def fetch(self, blob):
        for _ in range(2):
            if self.model[0] == blob["sha256"]:
                return self.model[1]
            done = asyncio.get_running_loop().create_future()
            self.download = {**blob, "data": bytearray(), "done": done}
            await self.want()
            data = await done
            self.model = (hashlib.sha256(data).hexdigest(), data)
        if self.model[0] == blob["sha256"]:
            return data
        raise NotDone("failed", "model", "the model came with another hash, twice")

    async def want(self):
        """From where the last line left it."""
        if self.line is None:
            return
        offset, window = len(self.download["data"]), min(WINDOW, self.limits["windowBytes"])
        want = {"transfer": self.transfer, "offset": offset, "window": window}
        self.transfer += 2
        self.download.update(want, acknowledged=offset)
        await self.send({"type": "want", "sha256": self.download["sha256"], **want})

    async def take(self, frame):
        transfer, _, offset = struct.unpack_from("<IIQ", frame)
        load = self.download
        if load is None or transfer != load["transfer"] or offset != len(load["data"]):
            return
        load["data"] += frame[16:]
        held = len(load["data"])
        if held >= load["bytes"] or held - load["acknowledged"] >= load["window"] / 2:
            load["acknowledged"] = held
            await self.send({"type": "ack", "transfer": transfer, "offset": held})
        if held >= load["bytes"]:
            self.download = None
            load["done"].set_result(bytes(load["data"]))

    async def on_abort(self, message):
        self.uploads.pop(message["transfer"], None)
        load = self.download
        if load is not None and load["transfer"] == message["transfer"]:
            self.download = None
            load["done"].set_exception(NotDone("failed", "model", "the model is not there"))

    # Updates on their way there: section 5

    async def on_grant(self, message):
        transfer, assignment = message["transfer"], message["assignment"]
        if assignment not in self.store.pending:
            return await self.send({"type": "abort", "transfer": transfer, "code": "unknown-blob"})
        data = self.store.read("update." + assignment)
        self.uploads[transfer] = {**message, "data": data, "sent": message["offset"]}
        await self.on_ack(message)

    async def on_ack(self, message):
        """Sends what the window takes."""
        transfer, acknowledged = message["transfer"], message["offset"]
        load = self.uploads.get(transfer)
        if load is None:
            return
        end = min(len(load["data"]), acknowledged + load["window"])
        while load["sent"] < end:
            offset = load["sent"]
            load["sent"] = min(end, offset + min(CHUNK, self.limits["frameBytes"] - 16))
            header = struct.pack("<IIQ", transfer, 0, offset)
            await self.send(header + load["data"][offset : load["sent"]])

    # Assignments: sections 3 and 7

    async def on_assign(self, assign):
        assignment = assign["assignment"]
        offer = self.store.pending.get(assignment) or self.reports.get(assignment)
        if offer is not None:
            await self.send(offer)
        elif self.work is not None and self.work["assignment"] == assignment:
            await self.send({"type": "accept", "assignment": assignment})
        else:
            self.task = asyncio.ensure_future(self.do(assign, self.task))

    async def do(self, assign, before):
        if before is not None:
            # It is answered, or void, but may not have ended yet.
            await before
        self.work, self.void = assign, False
        about = {"assignment": assign["assignment"]}
        try:
            if assign["task"] not in ("train", "evaluate"):
                raise NotDone("decline", "task", "this client trains and evaluates")
            if assign["task"] == "train":
                if assign["codec"] != "float32":
                    raise NotDone("decline", "codec", "this client sends float32")
                training.check(assign["settings"])
            await self.send({"type": "accept", **about})
            model = training.Model(await self.fetch(assign["model"]))
            await (self.train if assign["task"] == "train" else self.evaluate)(assign, model)
        except NotDone as error:
            if not self.void:
                say(f"Round {assign['round']}: {error.kind}, {error}")
                reason = {"code": error.code, "message": str(error)[:1000]}
                await self.send({"type": error.kind, **about, **reason})
        finally:
            self.work = None

    @staticmethod
    def fitting(model, x, y):
        if len(x) == 0 or x[0].size != np.prod(model.input) or y.max() >= len(model.classes):
            raise NotDone("decline", "data", f"the data do not fit, or there are none: {x.shape}")
        return model, x, y

    async def train(self, assign, model):
        loop, last = asyncio.get_running_loop(), time.monotonic()

        def told(epoch, batch, batches, loss):
            nonlocal last
            if time.monotonic() - last < 1 or not loss < 1e30:
                return
            last = time.monotonic()
            figures = {"epoch": epoch, "batch": batch, "batches": batches, "loss": loss}
            progress = {"type": "progress", "assignment": assign["assignment"], **figures}
            asyncio.run_coroutine_threadsafe(self.send(progress), loop)

        # In another thread, so that the line is looked after meanwhile.
        work = (*self.fitting(model, *self.train_on), assign["settings"], told, lambda: self.void)
        delta, metrics = await asyncio.to_thread(training.train, *work)
        update = training.write_update(delta)
        offer = {
            "type": "offer",
            "assignment": assign["assignment"],
            "sha256": hashlib.sha256(update).hexdigest(),
            "bytes": len(update),
            "samples": len(self.train_on[0]),
            "metrics": metrics,
        }
        if not self.void:
            self.store.keep(offer, update)
            await self.send(offer)

    async def evaluate(self, assign, model):
        work = self.fitting(model, *self.test_on)
        evaluation = await asyncio.to_thread(training.evaluate, *work)
        report = {"type": "report", "assignment": assign["assignment"], "evaluation": evaluation}
        self.reports[assign["assignment"]] = report
        await self.send(report)

    def drop(self, assignment):
        if self.work is not None and self.work["assignment"] == assignment:
            self.void = True
        self.reports.pop(assignment, None)
        self.store.settle(assignment)

    async def on_received(self, message):
        # Of a report it is the end; of an update it promises nothing.
        self.reports.pop(message["assignment"], None)

    async def on_committed(self, message):
        offer = self.store.pending.get(message["assignment"])
        if offer is not None:
            say(f"Round {message['round']} is committed: loss {offer['metrics']['lossAfter']:.4f}")
            counted = {"assignment": offer["assignment"], "sha256": offer["sha256"]}
            self.store.settle(offer["assignment"], {**counted, "round": message["round"]})

    async def on_refused(self, message):
        offer = self.store.pending.get(message["assignment"])
        if message.get("retryAfter") is None:
            say(f"Refused: {message['code']!r}")
            self.drop(message["assignment"])
        elif offer is not None:
            again = lambda: asyncio.ensure_future(self.send(offer))
            asyncio.get_running_loop().call_later(message["retryAfter"] / 1000, again)


def host_of(url):
    """What stands in the Host header: the port only where it is not the scheme's own."""
    parts = urllib.parse.urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    own = {"ws": 80, "wss": 443}[parts.scheme]
    return host if parts.port in (None, own) else f"{host}:{parts.port}"


def say(text):
    print(text, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="ws:// or wss:// address of the aggregator")
    parser.add_argument("--data", required=True, help="an NPZ file with the arrays x and y")
    parser.add_argument("--state", required=True, help="a folder of this client's own")
    parser.add_argument("--hold-out", type=float, default=0.1, help="share for evaluation only")
    parser.add_argument("--token", help="where the aggregator asks for one")
    given = parser.parse_args()
    if urllib.parse.urlsplit(given.url).scheme not in ("ws", "wss"):
        sys.exit("client: --url expected ws:// or wss://, got another scheme")
    try:
        with np.load(given.data, allow_pickle=False) as file:
            x, y = file["x"], file["y"].astype(int)
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"client: --data: {error}")
    if len(x) != len(y) or len(y) == 0 or y.min() < 0:
        sys.exit("client: --data expected as many classes in y, from 0, as examples in x")
    client = Client(given.url, Store(given.state), x, y, given.hold_out, given.token)
    try:
        asyncio.run(client.run())
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
