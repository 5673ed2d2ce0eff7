"""Learning (PH1.FEEDBACK, PH1.LEARN, PH1.KNOW): takes on signals, makes gold of their evidence, and packs of gold.

It never activates anything: what it builds is advisory until governance, builder and release gates have passed (§2).
"""
