"""One module a stage: read, transform, validate, write. The only place that knows Spark and MLflow."""
