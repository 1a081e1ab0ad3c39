"""Tests of the package against a fake supervisor. Snapshots are really taken in integration/python_test.go."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import threading
import time
import unittest
import warnings
from typing import Callable, List

import supervise
from supervise import SuperviseError, _connection, _holds, _hooks

from .fake import FakeSupervisor


def until(cond: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not cond():
        if time.monotonic() > end:
            raise AssertionError("not within 10 s")
        time.sleep(0.005)


class Absent(unittest.TestCase):
    """Outside supervision nothing happens."""

    def test_nothing(self) -> None:
        ran = []
        self.assertFalse(supervise.enabled())
        self.assertEqual(supervise.checkpoint("name"), supervise.Outcome("absent"))
        self.assertIsNone(supervise.status())
        self.assertEqual(supervise.sessions(), [])
        self.assertEqual(supervise.generation(), 0)
        self.assertEqual(supervise.annotate(a="b"), {})
        supervise.restore()
        supervise.remove(1)
        with supervise.no_checkpoint():
            ran.append(1)
        self.assertEqual(ran, [1])
        self.assertIs(supervise.before_checkpoint(_nothing), _nothing)
        self.assertIsNone(_hooks.hooks.listener)
        _hooks.hooks.forget()


def _nothing() -> None:
    pass


class Supervised(unittest.TestCase):
    def setUp(self) -> None:
        self.fake = FakeSupervisor()
        self.addCleanup(self.fake.close)
        self.addCleanup(_connection.pool.forget)
        self.addCleanup(_hooks.hooks.forget)

    def code(self, fn: Callable[[], object]) -> str:
        with self.assertRaises(SuperviseError) as raised:
            fn()
        return raised.exception.code


class Requests(Supervised):
    def test_checkpoint(self) -> None:
        self.assertTrue(supervise.enabled())
        o = supervise.checkpoint("first")
        self.assertEqual(o, supervise.Outcome("resumed", 0, "/fake/0001", "fake@0001", 0.0045))
        self.assertTrue(o.resumed and not o.restarted)
        self.fake.outcome = "restarted"
        o = supervise.checkpoint()
        self.assertTrue(o.restarted and not o.resumed)
        self.assertEqual(supervise.generation(), 1)
        self.assertEqual(self.code(lambda: supervise.checkpoint("x" * 201)), "malformed")

    def test_status(self) -> None:
        supervise.annotate(step="17", phase="x")
        self.assertEqual(supervise.annotate(phase=None), {"step": "17"})
        s = supervise.status()
        assert s is not None
        self.assertEqual((s.job, s.processes, s.root_pid, s.annotations), ("fake", 2, 7, {"step": "17"}))

    def test_sessions(self) -> None:
        for name in ("a", "b", "a", None):
            supervise.checkpoint(name)
        all = supervise.sessions()
        self.assertEqual([s.name for s in all], ["a", "b", "a", ""])
        assert all[0].created is not None
        self.assertEqual(all[0].created.isoformat(), "2026-01-31T12:00:01+00:00")
        supervise.remove("b")
        supervise.remove(all[0])
        self.assertEqual([s.number for s in supervise.sessions()], [3, 4])

    def test_restore(self) -> None:
        for name in ("a", "b", "a", "b"):
            supervise.checkpoint(name)
        for which, sent in ((None, None), (2, 2), ("a", 3), ("fake@0001", "fake@0001"), (supervise.sessions()[1], 2)):
            # The fake does not end this process, which so sees the end of the connection.
            self.assertEqual(self.code(lambda: supervise.restore(which)), "gone")
            self.assertEqual(self.fake.restored.get(timeout=10), sent)
        for wrong in ("no such", "fake@0009"):
            self.assertEqual(self.code(lambda: supervise.restore(wrong)), "no-image")

    def test_one_connection(self) -> None:
        for _ in range(20):
            supervise.checkpoint()
        self.assertEqual(len(self.fake.peers), 1)
        threads = [threading.Thread(target=supervise.status) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: len(self.fake.peers) == 1)

    def test_halves(self) -> None:
        """A line may come in any pieces."""
        a, b = socket.socketpair()
        connection = _connection.Connection.__new__(_connection.Connection)
        connection._sock, connection._in = a, b""
        with a, b:
            text = '{"id":1,"result":{"name":"ä"}}\n{"id":2}\n'.encode()
            for i in range(len(text)):
                b.send(text[i:i + 1])
                if text[i] == 10:
                    connection.receive()
            b.close()
            self.assertEqual(self.code(connection.receive), "gone")

    def test_interrupted(self) -> None:
        """Ctrl-C while a request waits: the next one gets its own answer."""
        answer = self.fake.on_status
        setattr(self.fake, "on_status", lambda peer, line: None)
        receive = _connection.Connection.receive

        def interrupt(self: _connection.Connection) -> _connection.Line:
            raise KeyboardInterrupt

        setattr(_connection.Connection, "receive", interrupt)
        with self.assertRaises(KeyboardInterrupt):
            supervise.status()
        setattr(_connection.Connection, "receive", receive)
        setattr(self.fake, "on_status", answer)
        self.assertIsNotNone(supervise.status())

    def test_another_supervisor(self) -> None:
        supervise.status()
        self.fake.stop()
        until(lambda: not self.fake.peers)
        threading.Timer(0.2, self.fake.listen).start()  # takes the path over
        self.assertIsNotNone(supervise.status())

    def test_gone(self) -> None:
        self.fake.stop()
        patience, _connection.PATIENCE = _connection.PATIENCE, 0.05
        try:
            self.assertFalse(supervise.enabled())
            self.assertEqual(self.code(supervise.checkpoint), "gone")
        finally:
            _connection.PATIENCE = patience

    def test_fork(self) -> None:
        """A child has connections of its own."""
        supervise.status()
        supervise.before_checkpoint(_nothing)
        pid = os.fork()
        if pid == 0:
            try:
                own = _hooks.hooks.listener is None and supervise.status() is not None
                os._exit(0 if own and supervise.checkpoint().resumed else 1)
            finally:
                os._exit(2)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        self.assertIsNotNone(supervise.status())


class Holds(Supervised):
    def test_nested(self) -> None:
        @supervise.no_checkpoint()
        def inner() -> int:
            return max(peer.depth for peer in self.fake.peers)

        with supervise.no_checkpoint(timeout=3):
            self.assertEqual(inner(), 2)
            self.assertEqual(inner(), 2)
            self.assertEqual(self.code(supervise.checkpoint), "held")
        until(lambda: all(peer.depth == 0 for peer in self.fake.peers))
        self.assertTrue(supervise.checkpoint().resumed)

    def test_threads(self) -> None:
        """The hold of one thread is not another's, and ends with it."""
        seen: List[int] = []
        with supervise.no_checkpoint():
            def other() -> None:
                _holds.hold(1)
                seen.append(_holds.depth())

            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
            self.assertEqual((seen, _holds.depth()), ([1], 1))
            until(lambda: len(self.fake.peers) == 1)

    def test_exception(self) -> None:
        with self.assertRaises(ZeroDivisionError), supervise.no_checkpoint():
            1 / 0
        self.assertEqual(_holds.depth(), 0)
        until(lambda: not self.fake.peers)

    def test_expired(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with supervise.no_checkpoint(timeout=0.001):
                for peer in self.fake.peers:
                    peer.depth = 0
        self.assertIn("not held back until the end", str(caught[0].message))

    def test_fork(self) -> None:
        with supervise.no_checkpoint():
            pid = os.fork()
            if pid == 0:
                try:
                    os._exit(_holds.depth())
                finally:
                    os._exit(2)
            self.assertEqual(os.waitpid(pid, 0)[1], 0)
            self.assertEqual([peer.depth for peer in self.fake.peers], [1])


class HookCalls(Supervised):
    def setUp(self) -> None:
        super().setUp()
        self.calls: List[str] = []

    def hook(self, name: str) -> Callable[[], None]:
        return lambda: self.calls.append(name)

    def register(self) -> None:
        for n in "12":
            supervise.before_checkpoint(self.hook("before" + n))
            supervise.after_resume(self.hook("resume" + n))
            supervise.after_restart(self.hook("restart" + n))

    def test_order(self) -> None:
        self.register()
        self.assertTrue(supervise.checkpoint().resumed)
        self.assertEqual(self.calls, ["before1", "before2", "resume2", "resume1"])
        self.calls.clear()
        self.fake.outcome = "restarted"
        self.assertTrue(supervise.checkpoint().restarted)
        self.assertEqual(self.calls, ["before1", "before2", "restart2", "restart1"])

    def test_refusal(self) -> None:
        self.register()

        @supervise.before_checkpoint(deadline=20)
        def no() -> None:
            raise ValueError("a transaction is open")

        with self.assertRaises(SuperviseError) as raised:
            supervise.checkpoint()
        self.assertEqual(str(raised.exception), "ValueError: a transaction is open (later)")
        self.assertEqual(self.calls, ["before1", "before2", "resume2", "resume1"])
        self.assertEqual([peer.deadline for peer in self.fake.registered("failed")], [20000])

    def test_failing_hook(self) -> None:
        """What fails after a snapshot is told, and harms no other hook."""
        self.register()
        supervise.after_resume(lambda: 1 // 0)
        with contextlib.redirect_stderr(io.StringIO()) as err:
            self.assertTrue(supervise.checkpoint().resumed)
        self.assertIn("ZeroDivisionError", err.getvalue())
        self.assertEqual(self.calls[-2:], ["resume2", "resume1"])

    def test_only_what_is_wanted(self) -> None:
        supervise.after_restart(self.hook("restart"))
        self.assertEqual([peer.events for peer in self.fake.peers], [["restarted"]])

    def test_calls_from_hooks(self) -> None:
        """A hook may ask and register, but not take part in what waits for it."""
        def before() -> None:
            self.calls.append(self.code(supervise.checkpoint))
            self.calls.append(self.code(lambda: supervise.no_checkpoint().__enter__()))
            self.calls.append(str(supervise.generation()))
            supervise.after_resume(self.hook("resume"))

        supervise.before_checkpoint(before)
        self.assertTrue(supervise.checkpoint().resumed)
        self.assertEqual(self.calls, ["refused", "refused", "0", "resume"])

    def test_another_supervisor(self) -> None:
        """Hooks count again once somebody is there."""
        self.register()
        self.fake.stop()
        until(lambda: not self.fake.peers)
        self.fake.listen()
        until(lambda: len(self.fake.registered("before-freeze")) == 1)
        self.assertTrue(supervise.checkpoint().resumed)
        self.assertEqual(self.calls, ["before1", "before2", "resume2", "resume1"])

    def test_supervisor_dies_in_between(self) -> None:
        """Who has prepared for a snapshot learns that there is none."""
        self.register()
        [peer] = self.fake.registered("before-freeze")
        self.assertEqual(peer.ask("before-freeze"), "")
        self.fake.stop()
        until(lambda: "resume1" in self.calls)
        self.assertEqual(self.calls, ["before1", "before2", "resume2", "resume1"])


if __name__ == "__main__":
    unittest.main()
