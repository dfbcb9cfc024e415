"""The planner: a portable graph and the shapes of its inputs become one flat plan that the core executes."""
