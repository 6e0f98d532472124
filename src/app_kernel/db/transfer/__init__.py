"""Moving a database as a whole: backed up into one file, restored from it, copied into another database."""
