"""Which versions an alias may point at: a policy as data, and every reason against a version at once. Pure."""
