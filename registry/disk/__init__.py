"""Files and bytes on this machine, read, written and hashed safely; and the environment of the processes that we start."""
