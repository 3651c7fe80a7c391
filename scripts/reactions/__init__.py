"""Gas-phase reactions on GFN2-xTB: their definitions and the search for their reference saddles."""
