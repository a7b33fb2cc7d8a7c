"""What `eval` measures: how well a model predicts a text, how much its suggestions help, and what it has memorised."""
