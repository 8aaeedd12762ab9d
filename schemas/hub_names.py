"""How the Hugging Face Hub names a repository and a commit of it."""

import re

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}\Z", re.ASCII)
"""owner/name of a repository."""

COMMIT = re.compile(r"[0-9a-f]{40}\Z")
"""A commit of a repository, whole."""
