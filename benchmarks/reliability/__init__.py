"""The measurements behind docs/reliability.md: each module measures one row and returns numbers."""
