"""Tests of the names of DMTCP."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import unittest

from supervise import SuperviseError, _connection, _holds, dmtcp

from .fake import FakeSupervisor


class Absent(unittest.TestCase):
    def test_nothing(self) -> None:
        self.assertFalse(dmtcp.isEnabled)
        self.assertFalse(dmtcp.isEnabled())
        dmtcp.checkpoint()
        self.assertFalse(dmtcp.isResume() or dmtcp.isRestart() or dmtcp.isRunning())
        dmtcp.restore()
        self.assertEqual((dmtcp.numProcesses(), dmtcp.checkpointFilename(), dmtcp.uniquePidStr()), (0, "", ""))


class Supervised(unittest.TestCase):
    def setUp(self) -> None:
        self.fake = FakeSupervisor()
        self.addCleanup(self.fake.close)
        self.addCleanup(_connection.pool.forget)
        dmtcp._sessions.clear()

    def test_checkpoint(self) -> None:
        self.assertTrue(dmtcp.isEnabled)
        dmtcp.checkpoint()
        self.assertTrue(dmtcp.isResume() and not dmtcp.isRestart())
        self.fake.outcome = "restarted"
        dmtcp.checkpoint()
        self.assertTrue(dmtcp.isRestart() and not dmtcp.isResume())
        self.assertEqual((dmtcp.numCheckpoints(), dmtcp.numRestarts(), dmtcp.numProcesses()), (2, 1, 2))
        self.assertEqual(dmtcp.checkpointFilename(), "/fake/0002")

    def test_critical(self) -> None:
        dmtcp.disableCkpt()
        dmtcp.disableCkpt()
        self.assertEqual(_holds.depth(), 2)
        dmtcp.enableCkpt()
        dmtcp.enableCkpt()
        dmtcp.enableCkpt()  # one too many
        self.assertEqual(_holds.depth(), 0)

    def test_sessions(self) -> None:
        for _ in range(3):
            dmtcp.checkpoint()
        with contextlib.redirect_stdout(io.StringIO()) as out:
            dmtcp.listSessions()
        self.assertEqual(out.getvalue().splitlines()[2], "[3](2026-01-31 12:00:03+00:00, fake@0003)")
        for session, number in ((0, 3), (1, 1), (3, 3)):
            with self.assertRaises(SuperviseError):  # the fake leaves this process alive
                dmtcp.restore(session)
            self.assertEqual(self.fake.restored.get(timeout=10), number)
        with self.assertRaises(SuperviseError):
            dmtcp.restore(4)
        dmtcp.removeSession(1)
        self.assertEqual([s["number"] for s in self.fake.snapshots], [2, 3])

    def test_script(self) -> None:
        """A script that imports dmtcp runs as it is."""
        with tempfile.TemporaryDirectory() as where, contextlib.redirect_stdout(io.StringIO()) as out:
            name = os.path.join(where, "old.py")
            with open(name, "w") as f:
                f.write("import sys, dmtcp\nif dmtcp.isEnabled:\n    dmtcp.checkpoint()\n    print(sys.argv, dmtcp.isResume())\n")
            dmtcp.main([name, "a"])
        self.assertEqual(out.getvalue(), f"{[name, 'a']} True\n")

    def test_main(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            dmtcp.main([])
        self.assertIn("Enabled: True\nisRunning: True\nnumProcesses: 2\n", out.getvalue())
