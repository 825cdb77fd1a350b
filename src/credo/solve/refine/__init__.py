"""Structure refinement: a model with constraints and restraints, fitted to F² by full-matrix least squares."""
