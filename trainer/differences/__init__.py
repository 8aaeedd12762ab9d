"""What two versions differ in: recorded facts, and weights module by module."""
