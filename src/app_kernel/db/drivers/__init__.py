"""The wires of each database: connections, threads, pools, and foreign errors made ours."""
