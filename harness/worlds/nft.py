"""nftables through libnftables, in this process and this network namespace.

One call of `run` is one transaction: all of its commands are in force when it returns, or none is. The `nft`
program does the same in 5 to 16 ms; through the library, with the context kept, a partition of five nodes
takes a fraction of a millisecond.

The library is loaded by ctypes (its interface is C, and small: libnftables(3)); Debian's package is
libnftables1, which nothing but that one file is needed from.
"""

from __future__ import annotations

import ctypes


class NftablesError(Exception):
    """nftables refused a transaction: nothing of it is in force. The message is nft's own."""


class Nftables:
    """A libnftables context: keeps its netlink socket, and with it the namespace it was made in.

    Raises OSError if the library is not installed.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL("libnftables.so.1")
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
            getattr(library, name).restype = ctypes.c_char_p
        self._library = library
        self._context = library.nft_ctx_new(0)
        if self._context is None:
            raise OSError("libnftables could not make a context")
        # Otherwise the library writes to this process's stdout and stderr.
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> str:
        """Apply the commands (nft(8) syntax, one a line) as one transaction; what they print."""
        failed = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
        # Reading a buffer also empties it: both are read every time.
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        error: bytes = self._library.nft_ctx_get_error_buffer(self._context)
        if failed:
            raise NftablesError(error.decode(errors="replace").strip() or "nftables gave no reason")
        return output.decode(errors="replace")
