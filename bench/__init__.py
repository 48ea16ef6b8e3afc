"""One canonical workload per question. Every figure stands beside a named alternative from the same run."""
