"""SQLite: one connection inside a transaction that is committed afterwards, one
that is rolled back, one in WAL mode. argv[3] names which."""
import os, sqlite3
from prog import *

how = sys.argv[3]
name = how + ".db"
for suffix in ("", "-journal", "-wal", "-shm"):
    if os.path.exists(name + suffix):
        os.unlink(name + suffix)
db = sqlite3.connect(name, isolation_level=None)
if how == "wal":
    db.execute("pragma journal_mode=wal")
db.execute("pragma cache_size=10")  # so that pages are written before the commit
db.execute("create table t(n integer primary key, s text)")
db.executemany("insert into t values(?, ?)", ((i, "x" * 500) for i in range(1000)))
db.execute("begin immediate")
db.executemany("insert into t values(?, ?)", ((i, "y" * 500) for i in range(1000, 2000)))
db.execute("update t set s = 'changed' where n < 500")
ready_wait()
db.executemany("insert into t values(?, ?)", ((i, "z" * 500) for i in range(2000, 3000)))
if how == "rollback":
    db.execute("rollback")
    want = [(1000, 0)]
else:
    db.execute("commit")
    want = [(3000, 500)]
for conn in (db, sqlite3.connect(name)):
    check(conn.execute("pragma integrity_check").fetchall() == [("ok",)], "integrity_check")
    got = conn.execute("select count(*), count(*) filter (where s = 'changed') from t").fetchall()
    check(got == want, f"{got}, want {want}")
    conn.close()
ok()
