"""What was presented, the checks that it must pass, and what each of them found. Nothing here can write."""
