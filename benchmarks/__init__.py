"""Long validations and comparisons with other programs: `make benchmark`; results are kept in RESULTS.md."""
