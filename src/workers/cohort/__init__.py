"""Events and labels: who is in the study, when, and what happened."""
