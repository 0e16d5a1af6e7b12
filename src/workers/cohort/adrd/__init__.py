"""The invented cohort."""
