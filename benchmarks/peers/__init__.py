"""Each side of a comparison as the program its author would have written; imported only where it is measured."""
