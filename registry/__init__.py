"""Identity, signing, storage, verification and reports. No deep-learning stack: an auditor runs it on a laptop."""
