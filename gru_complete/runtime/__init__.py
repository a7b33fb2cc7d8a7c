"""A trained model at work: reads text, predicts what follows, completes it. numpy only, no PyTorch."""
