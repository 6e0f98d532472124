"""The words of each database: pure strings, no input or output."""
