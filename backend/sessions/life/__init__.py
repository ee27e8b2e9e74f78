"""What becomes of a session after the click: its row, its submission, what the scheduler says, its end."""
