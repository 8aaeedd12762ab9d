"""What was recorded, made readable: views over values, and renderers that decide nothing."""
