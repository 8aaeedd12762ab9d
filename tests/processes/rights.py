"""Giving up the rights that let root read and write everywhere, without starting another program. Linux."""

import ctypes
import os

VERSION = 0x20080522  # of the structures that capget(2) and capset(2) take
# by their numbers in capabilities(7): to read and write whatever the mode of a file says, and to change that mode
DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER = 1, 2, 3
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38  # prctl(2)


def give_up_rights_over_files() -> None:
    """Take from this process, for good, and from all that it will start the rights of root over files of any mode.

    Raises:
        OSError: the system refused.
    """
    rights = (DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER)
    for right in rights:
        _call("prctl", PR_CAPBSET_DROP, right, 0, 0, 0)  # what is executed later gets no more than these
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(VERSION, 0)  # 0: of this process
    words = (
        ctypes.c_uint32 * 6
    )()  # effective, permitted and inheritable, of the rights below 32 and of those from there on
    _call("capget", header, words)
    kept = ~sum(1 << right for right in rights)
    words[0] &= kept
    words[1] &= kept
    words[2] = words[5] = 0
    _call("capset", header, words)


def _call(name: str, *arguments: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
