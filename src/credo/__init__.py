"""credo: 3D electron diffraction from the TEM grid to the refined crystal structure."""

__version__ = "0.1.0"
