"""The page's figures, drawn from the findings alone: SVG with real text, and the same numbers as CSV."""
