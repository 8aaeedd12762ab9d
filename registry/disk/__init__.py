"""Files and bytes on this machine, read, written and hashed safely; and what a process that is started here may know."""
