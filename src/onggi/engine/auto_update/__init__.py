"""Auto-update: a container that asks for it by a label is replaced when its image's tag has moved.

registry's webhook, the clock, or `onggi auto-update` ─ `updates`: what is due ─ pull ─ `replacing`: the new one beside the
old one, well, the ports handed over, the old one gone; or back
"""
