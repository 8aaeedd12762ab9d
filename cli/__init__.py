"""How people and programs ask: the command line (options in, one call, one rendering out), and the Python face."""
