"""The verbs of the command line, by what they are about. Each calls one function below."""
