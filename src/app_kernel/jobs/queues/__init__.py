"""Where jobs wait: one contract for all queues, what is mended in SAQ once, and the backends."""
