"""One command over many items: a fixed list, its shards, what became of each item, and the executors of others that run them."""
