"""Files and bytes on this machine: reading, writing and hashing them safely."""
