"""Plans and the engine that collects data (planned: see the issues)."""
