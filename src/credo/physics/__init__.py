"""Electron wavelength, structure factors, Ewald geometry, and the simulated rotation series."""
