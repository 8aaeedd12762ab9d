"""Popular claims about adaptation methods, held against measured figures."""
