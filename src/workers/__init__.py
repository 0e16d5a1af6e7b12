"""One node's side: cohorts, examples, models, training, scoring. Never imports Ray, MLflow or the orchestrator."""
