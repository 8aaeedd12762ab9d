"""This machine: its devices, memory, energy, processes and seeds."""
