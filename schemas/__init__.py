"""Pure values: what is recorded, signed, exchanged and shown. No clock, disk, environment, torch or SQL."""
