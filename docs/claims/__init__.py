"""Popular claims about adaptation methods, held against the figures that are kept in `docs/measured`. Not part of the wheel."""
