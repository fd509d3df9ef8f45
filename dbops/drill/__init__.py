"""What engines share of a drill: the cell, the scratch folder, the verdict, the report."""
