"""What a run takes: operations, memory, time, latency; and whether it fits."""
