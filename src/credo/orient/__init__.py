"""Frame orientations: where the Ewald sphere of every frame lies in the crystal, and what that says of the stage."""
