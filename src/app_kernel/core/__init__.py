"""The contract every feature and engine is written against; imports nothing else of this package."""
