"""What must be shown before a contrast is read: no leak for a difference, learning for the lack of one."""
