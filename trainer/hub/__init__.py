"""Model and data repositories on the Hugging Face Hub."""
