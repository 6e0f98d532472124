"""Commands for working on app_kernel itself; nothing here is shipped."""
