"""Programs of others, used where they are installed: SHELXT, Superflip, SHELXL; and files for Olex2 and JANA."""
