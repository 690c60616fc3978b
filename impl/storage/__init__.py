"""What a Raft server must find again after a restart: term and vote, the log, the newest snapshot.

Rules
-----
1. Appended is not durable; only what `sync` or `install` has returned for may be relied upon elsewhere.
2. A failed write or flush is final (DiskFailed). Nothing is tried again, nothing is pretended.
3. Damage is refused (Corrupt), never skipped. The one exception is the torn tail of a write that was under
   way when the power went, which nobody was told of; it is cut, and `Storage.cut` says so.

`format` has the bytes, `storage` what is done with them.
"""

from impl.storage.errors import Corrupt, DiskFailed, StorageError, UnknownVersion
from impl.storage.format import Cut
from impl.storage.storage import Storage

__all__ = ["Corrupt", "Cut", "DiskFailed", "Storage", "StorageError", "UnknownVersion"]
