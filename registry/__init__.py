"""Identity, signing, storage, verification and reports. Needs no deep-learning stack: an auditor runs it on a laptop."""
