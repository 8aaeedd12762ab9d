"""What a recipient is handed about a version: documents cut from its record by an allow-list, and how they are done again."""
