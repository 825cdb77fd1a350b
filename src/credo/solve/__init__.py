"""From merged intensities to a refined structure (planned: see the issues)."""
