"""Many crystals sorted, scaled and merged."""
