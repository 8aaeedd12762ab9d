"""Tasks of lm-evaluation-harness on rows of the user's own: what is installed is read, and nothing is fetched or run unseen."""
