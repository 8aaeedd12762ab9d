"""What somebody else made and offers: which tool wrote it, what lies beside it, whether it can be of a base, what to know of it."""
