"""The main job on real data: write, back up, destroy, restore, prove. ``make demo`` runs it."""
